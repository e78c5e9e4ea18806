//! A unix socket's place in the file system: what may be there before, and what is removed after.
//!
//! A process that is killed leaves its socket behind, so somebody has to clear dead ones away. Only
//! a socket that nobody listens on gives way. A path can be mistyped, and then what is there is a
//! configuration file, a disk image or another program's socket: it stays as it is.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Why a path cannot become a socket's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Occupied {
    /// A file, a folder, a link: anything but a socket.
    #[error("what is there is no socket, and stays")]
    NoSocket,
    /// A socket of somebody who is there.
    #[error("somebody listens there already")]
    InUse,
}

/// A path at which this process listens. It goes with this value, unless it has become something
/// else's by then.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    file: (u64, u64),
}

impl SocketPath {
    /// Listens at `path`, in place of a socket that nobody listens on any more.
    ///
    /// # Errors
    /// [`Occupied`] within the error; else as `unlink` and `bind`.
    pub fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        if is_dead_socket(path)? {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let file = identity(&fs::symlink_metadata(path)?);
        Ok((listener, Self { path: path.to_owned(), file }))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| identity(&there) == self.file) {
            // Somebody may be removing it at this moment.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a dead socket is at `path`, to be removed; false when nothing is there.
///
/// # Errors
/// [`Occupied`] within the error when something is there that is to stay; else as `stat`.
pub fn is_dead_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => Err(io::Error::other(Occupied::NoSocket)),
        Ok(_) if is_listening(path)? => Err(io::Error::other(Occupied::InUse)),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether somebody listens on the socket at `path`, also one who does not get round to answering.
///
/// # Errors
/// When a path is too long to be a socket's.
pub fn is_listening(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let connected = connect(&socket, &SocketAddrUnix::new(path)?);
    let nobody = [rustix::io::Errno::CONNREFUSED, rustix::io::Errno::NOENT];
    Ok(connected.err().is_none_or(|errno| !nobody.contains(&errno)))
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of one test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn make(name: &str) -> Self {
            let folder = format!("weft-socket-path-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(folder);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn occupied(error: &io::Error) -> Option<Occupied> {
        error.get_ref()?.downcast_ref().copied()
    }

    #[test]
    fn only_a_dead_socket_gives_way() {
        let folder = Folder::make("gives-way");
        let at = |name: &str| folder.0.join(name);
        fs::write(at("file"), "[appliance]\n").unwrap();
        fs::create_dir(at("folder")).unwrap();
        drop(UnixListener::bind(at("dead")).unwrap());
        let _alive = UnixListener::bind(at("alive")).unwrap();
        std::os::unix::fs::symlink(at("dead"), at("link")).unwrap();
        let cases = [
            ("file", Some(Occupied::NoSocket)),
            ("folder", Some(Occupied::NoSocket)),
            ("link", Some(Occupied::NoSocket)),
            ("alive", Some(Occupied::InUse)),
            ("dead", None),
            ("nothing", None),
        ];
        for (name, expected) in cases {
            let bound = SocketPath::bind(&at(name));
            assert_eq!(bound.as_ref().err().and_then(occupied), expected, "{name}: {bound:?}");
            assert_eq!(bound.is_ok(), expected.is_none(), "{name}");
        }
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "[appliance]\n");
    }

    #[test]
    fn a_path_that_has_become_something_else_s_is_left() {
        let folder = Folder::make("left");
        let path = folder.0.join("socket");
        let (_listener, ours) = SocketPath::bind(&path).unwrap();
        // Kept under another name, so that the number of its inode is not given away again.
        fs::rename(&path, folder.0.join("former")).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(ours);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        let (_listener, ours) = SocketPath::bind(&path).unwrap();
        drop(ours);
        assert!(!path.exists());
    }
}
