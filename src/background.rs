//! Going on in the background, once it is known that all is well.
//!
//! [`detach`] forks. The process that the user started stays until the other one says that it is
//! [`Ready`], or ends without; it prints what it was told and ends with that outcome. So a
//! `--detach` that returns 0 has done what it was asked for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::sys::process::{Fork, exit_now, fork_into};

/// The octet that precedes a failure.
const FAILED: u8 = b'!';
/// The octet that ends what the background has to say. The pipe's own end would not do: programs
/// that the background started hold it open.
const END: u8 = 0;
/// The longest thing it can say.
const MAX_WORD: u64 = 64 << 10;

/// The background's way to tell how it went.
#[derive(Debug)]
pub struct Ready(Option<OwnedFd>);

impl Ready {
    /// For a process that stays in the foreground: nobody waits.
    pub const fn nobody() -> Self {
        Self(None)
    }

    /// Whether a process waits in the foreground.
    pub const fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// All is well: the waiting process prints `line` and ends with 0.
    pub fn done(self, line: &str) {
        if let Some(pipe) = self.0 {
            tell(pipe, line.as_bytes());
        }
    }

    /// It failed: the waiting process prints the text to its standard error and ends with 1.
    pub fn failed(self, text: &str) {
        match self.0 {
            Some(pipe) => tell(pipe, &[&[FAILED], text.as_bytes()].concat()),
            None => eprint!("{text}"),
        }
    }
}

/// Forks; returns in the background, in a session of its own and without the terminal. The
/// foreground waits and ends.
///
/// # Errors
/// When there is no second process.
pub fn detach() -> io::Result<Ready> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork_into(0)? {
        Fork::Child => {
            drop(reader);
            rustix::process::setsid()?;
            silence();
            Ok(Ready(Some(writer)))
        }
        Fork::Parent(_) => {
            drop(writer);
            let mut said = Vec::new();
            let mut reader = BufReader::new(File::from(reader).take(MAX_WORD));
            let ended = reader.read_until(END, &mut said).is_ok() && said.pop() == Some(END);
            let text = String::from_utf8_lossy(&said);
            if !ended {
                eprintln!("weft: the process in the background ended without a word");
                exit_now(1);
            }
            if said.first() == Some(&FAILED) {
                eprint!("{}", &text[1..]);
                exit_now(1);
            }
            println!("{text}");
            // `exit_now` does not write out what is buffered.
            let _ = io::stdout().flush();
            exit_now(0)
        }
    }
}

fn tell(pipe: OwnedFd, word: &[u8]) {
    // The waiting process may have been ended; then nobody wants to know.
    let _ = File::from(pipe).write_all(&[word, &[END]].concat());
}

/// Lets go of the terminal.
fn silence() {
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        // Where this fails, the descriptors stay what they were, which is no harm.
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
}
