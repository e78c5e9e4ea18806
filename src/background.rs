//! Going on in the background, once it is known that all is well.
//!
//! [`detach`] forks. The process that the user started stays until the other one says that it is
//! [`Ready`], or ends without; it prints what it was told and ends with that outcome. So a
//! `--detach` that returns 0 has done what it was asked for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::sys::process::{Fork, exit_now, fork_into};

/// The word that precedes a failure.
const FAILED: &str = "!";

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

    /// All is well: the waiting process prints `line` and ends with 0. What is printed from now on
    /// goes nowhere.
    pub fn done(self, line: &str) {
        if let Some(pipe) = self.0 {
            // The waiting process may have been ended.
            let _ = write!(File::from(pipe), "{line}");
            silence();
        }
    }

    /// It failed: the waiting process prints the text to its standard error and ends with 1.
    pub fn failed(self, text: &str) {
        match self.0 {
            Some(pipe) => {
                // As above.
                let _ = write!(File::from(pipe), "{FAILED}{text}");
            }
            None => eprint!("{text}"),
        }
    }
}

/// Forks; returns in the background, in a session of its own. The foreground waits and ends.
///
/// # Errors
/// When there is no second process.
pub fn detach() -> io::Result<Ready> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork_into(0)? {
        Fork::Child => {
            drop(reader);
            rustix::process::setsid()?;
            Ok(Ready(Some(writer)))
        }
        Fork::Parent(_) => {
            drop(writer);
            let mut text = String::new();
            let read = File::from(reader).read_to_string(&mut text);
            if let Some(failure) = text.strip_prefix(FAILED) {
                eprint!("{failure}");
                exit_now(1);
            }
            if read.is_err() || text.is_empty() {
                eprintln!("weft: the process in the background ended without a word");
                exit_now(1);
            }
            println!("{text}");
            // `exit_now` does not write out what is buffered.
            let _ = io::stdout().flush();
            exit_now(0)
        }
    }
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
