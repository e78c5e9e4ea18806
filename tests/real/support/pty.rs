//! A terminal to type into.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::gate::locked;
use super::wait::until;
use super::world::World;

/// How long the program may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program with a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program in a new session whose terminal this is.
    pub fn start(world: &World, command: &Command) -> Self {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let name = ptsname(&near, Vec::new()).unwrap();
        let far = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        let far = far.unwrap();
        let (user, group) = world.ids();
        let path = std::path::PathBuf::from(name.to_str().unwrap());
        std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
        let mut session = world.command("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        session.env("TERM", "dumb");
        let copy = |fd: &OwnedFd| fd.try_clone().unwrap();
        let child = session.stdin(copy(&far)).stdout(copy(&far)).stderr(far).spawn().unwrap();
        let mut reader = File::from(copy(&near));
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&screen);
        // Ends with an error when the last program lets go of the terminal.
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut octets) {
                locked(&shown).extend_from_slice(&octets[..len]);
            }
        });
        Self { child, keyboard: File::from(near), screen }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// What has been shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&locked(&self.screen)).into_owned()
    }

    /// Waits until `text` is shown.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let found = until(PATIENCE, || self.shown().contains(text).then_some(()));
        assert!(found.is_some(), "no {text:?} on the screen: {}", self.shown());
    }

    /// Waits for the program's end; its exit code, or 128 and the signal's number.
    #[track_caller]
    pub fn end(mut self) -> i32 {
        let status = until(PATIENCE, || self.child.try_wait().unwrap());
        let status = status.unwrap_or_else(|| panic!("does not end: {}", self.shown()));
        status.code().or(status.signal().map(|signal| 128 + signal)).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
