//! Network namespaces as `ip netns` makes them, removed when the test ends.

use std::process::Command;

use super::program::{Program, Said};
use super::world::{PREFIX, World, words};

/// A namespace of a test's own.
#[derive(Debug)]
pub struct Namespace {
    /// Its name under `/run/netns`.
    pub name: String,
    socket: std::path::PathBuf,
}

impl World {
    /// Makes a namespace with `lo` up.
    #[track_caller]
    pub fn namespace(&self, name: &str) -> Namespace {
        let name = format!("{PREFIX}{}-{name}", self.tag);
        self.namespaces.borrow_mut().push(name.clone());
        let namespace = Namespace { name, socket: self.socket() };
        let made = Command::new("ip").args(["netns", "add", &namespace.name]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        namespace.run("ip link set lo up").ok();
        namespace
    }
}

impl Namespace {
    /// Where it is.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs a program in it, as root, to its end.
    #[track_caller]
    pub fn run(&self, line: &str) -> Said {
        Program::start(self.command(line)).end()
    }

    /// Starts a program in it, as root.
    pub fn start(&self, line: &str) -> Program {
        Program::start(self.command(line))
    }

    /// Removes it now.
    pub fn delete(&self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words(line));
        // The mark by which the world finds what is left.
        command.env("WEFT_SOCKET", &self.socket).env("PATH", super::gate::PATH);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.delete();
    }
}
