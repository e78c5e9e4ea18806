//! `weft exec`: one more program in a sandbox that runs.
//!
//! The caller enters the namespaces of the sandbox's first process, which it may because it is the
//! user who made them, and starts the program there. The appliance is asked for nothing but the
//! process id.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::inside::{self, FORWARDED};
use crate::sys::process as system;

/// Why the program was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The sandbox ended meanwhile.
    #[error("the sandbox has ended")]
    Ended,
    /// A namespace could not be opened or entered.
    #[error("the sandbox's namespace {0} cannot be entered")]
    Enter(&'static str, #[source] io::Error),
    /// No process could be started.
    #[error("no process can be started")]
    Start(#[from] io::Error),
}

/// The namespaces to enter, in this order: the user namespace gives the rights over the others.
const SPACES: [(&str, LinkNameSpaceType); 5] = [
    ("user", LinkNameSpaceType::User),
    ("net", LinkNameSpaceType::Network),
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("pid", LinkNameSpaceType::ProcessID),
    ("mnt", LinkNameSpaceType::Mount),
];

/// Runs a program in the namespaces of process `pid` and waits for its end; its exit code, or 128
/// and the signal's number.
///
/// # Errors
/// See [`ExecError`].
pub fn exec(pid: u32, command: &[OsString]) -> Result<i32, ExecError> {
    let first = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(ExecError::Ended)?;
    let process = pidfd_open(first, PidfdFlags::empty()).map_err(|_| ExecError::Ended)?;
    let mut spaces = Vec::new();
    for (name, kind) in SPACES {
        let path = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        let own = std::fs::read_link(format!("/proc/self/ns/{name}"));
        let theirs = std::fs::read_link(&path).map_err(|error| ExecError::Enter(name, error))?;
        if own.is_ok_and(|own| own != theirs) {
            let space = File::open(&path).map_err(|error| ExecError::Enter(name, error))?;
            spaces.push((name, kind, space));
        }
    }
    // The number may have been given to another process between the answer and now; the namespaces
    // just opened are the sandbox's only if its first process still runs.
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut ended, Some(&at_once)).map_err(io::Error::from)? > 0 {
        return Err(ExecError::Ended);
    }
    let folder = std::env::current_dir();
    let mut own_user = false;
    for (name, kind, space) in &spaces {
        move_into_link_name_space(space.as_fd(), Some(*kind))
            .map_err(|errno| ExecError::Enter(name, errno.into()))?;
        own_user |= *name == "user";
    }
    if let Ok(folder) = folder {
        // Entering a mount namespace leads to its root; the same folder is usually there too.
        let _ = std::env::set_current_dir(folder);
    }
    let signals = system::signals(&FORWARDED[..6])?;
    let is_root = rustix::process::geteuid().is_root();
    match inside::start(command, own_user && !is_root) {
        Ok(child) => attend(child, &signals),
        Err(refused) => {
            eprintln!("weft: {}", refused.text);
            Ok(refused.code)
        }
    }
}

fn attend(child: Pid, signals: &std::os::fd::OwnedFd) -> Result<i32, ExecError> {
    let process = pidfd_open(child, PidfdFlags::empty()).map_err(io::Error::from)?;
    loop {
        let mut ready = [PollFd::new(&process, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        // An interrupted poll is followed by a look at what there is, like any other.
        let _ = poll(&mut ready, None);
        while let Ok(Some(signal)) = system::next_signal(signals) {
            if signal.from_process
                && let Some(signal) = Signal::from_named_raw(signal.number)
            {
                let _ = kill_process(child, signal);
            }
        }
        if let Ok(Some((_, status))) = waitpid(Some(child), WaitOptions::NOHANG) {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            return Ok(status.exit_status().or(signal).unwrap_or(1));
        }
    }
}
