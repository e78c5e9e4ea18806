//! The first octets of a database and of its journal, read before SQLite may touch either.
//!
//! SQLite is right to make the best of what it finds: an empty file is an empty database to it, a
//! journal that is none is thrown away. For a file that shall be there and whole both would hide a
//! loss. And what another program or a newer weft wrote is left alone only if nothing opens it for
//! writing first.
//!
//! None of the octets that are looked at here change while weft uses a file, so what a loss of
//! power leaves half-written does not matter.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::refusal::{Damage, OpenError};

/// "weft".
pub(super) const APPLICATION: u32 = 0x7765_6674;
/// The schema that this weft writes, and the only one so far.
pub(super) const SCHEMA: u32 = 1;
/// The size of a page, in octets.
pub(super) const PAGE: u16 = 4096;

const LEN: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Checks that a file is a database of weft's that this weft may open.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::Read(path.to_owned(), error.into());
    let damaged = |damage| OpenError::Damaged { file: path.to_owned(), damage };
    let (header, len) = beginning(path).map_err(failed)?;
    // An empty file was once a database: a new one appears finished or not at all.
    if len == 0 {
        return Err(damaged(Damage::Short(len)));
    }
    let known = header.len().min(MAGIC.len());
    if header[..known] != MAGIC[..known] {
        return Err(OpenError::NoDatabase(path.to_owned()));
    }
    if header.len() < LEN || len < u64::from(PAGE) {
        return Err(damaged(Damage::Short(len)));
    }
    let application = word(&header, 68);
    if application != APPLICATION {
        return Err(OpenError::Alien { file: path.to_owned(), application });
    }
    let found = word(&header, 60);
    if found > SCHEMA {
        return Err(OpenError::NewerSchema { file: path.to_owned(), found, known: SCHEMA });
    }
    // Page size; a rollback journal for reading and writing, no write-ahead log; nothing reserved.
    let [high, low] = PAGE.to_be_bytes();
    if found != SCHEMA || header[16..21] != [high, low, 1, 1, 0] {
        return Err(damaged(Damage::Header));
    }
    Ok(())
}

/// Checks that a journal is one, or begins with zeros as one that was never finished.
pub(super) fn check_journal(journal: &Path, file: &Path) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::Read(journal.to_owned(), error.into());
    let (header, _) = beginning(journal).map_err(failed)?;
    let magic = &header[..header.len().min(JOURNAL_MAGIC.len())];
    if magic == JOURNAL_MAGIC || magic.iter().all(|octet| *octet == 0) {
        return Ok(());
    }
    Err(OpenError::Damaged { file: file.to_owned(), damage: Damage::Journal })
}

/// The first octets of a file, and how many it has.
fn beginning(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let len = file.metadata()?.len();
    let mut header = Vec::with_capacity(LEN);
    file.take(LEN as u64).read_to_end(&mut header)?;
    Ok((header, len))
}

fn word(header: &[u8], place: usize) -> u32 {
    header[place..].iter().take(4).fold(0, |word, octet| word << 8 | u32::from(*octet))
}
