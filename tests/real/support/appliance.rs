//! An appliance in the foreground, and its tables.

use rustix::process::Signal;
use serde::de::DeserializeOwned;
use weft::api::client::Client;
use weft::api::shapes::{Assigned, DropLine, FdbLine, PortLine, SandboxLine, Status};

use super::program::Program;
use super::wait::eventually;
use super::world::World;

/// A `weft up` that runs; ended by SIGTERM when it goes.
#[derive(Debug)]
pub struct Appliance {
    program: Program,
}

impl Appliance {
    /// Its process.
    pub fn pid(&self) -> i32 {
        self.program.pid()
    }

    /// Kills it as hard as possible and waits until it is dead.
    pub fn kill(mut self) {
        self.program.signal(Signal::KILL);
        eventually("the appliance is dead", || self.program.has_ended().then_some(()));
    }

    /// The program itself.
    pub fn into_program(self) -> Program {
        self.program
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }
}

impl World {
    /// Starts an appliance without a file and waits until it answers.
    #[track_caller]
    pub fn up(&self) -> Appliance {
        self.up_as("up")
    }

    /// Starts an appliance with this file.
    #[track_caller]
    pub fn up_with(&self, toml: &str) -> Appliance {
        let file = self.write("weft.toml", toml);
        self.up_as(&format!("up {}", file.display()))
    }

    /// Starts an appliance by this line and waits until it answers.
    #[track_caller]
    pub fn up_as(&self, line: &str) -> Appliance {
        self.answering(self.start(line))
    }

    /// Waits until an appliance that was started answers.
    #[track_caller]
    pub fn answering(&self, mut program: Program) -> Appliance {
        let pid = u32::try_from(program.pid()).unwrap();
        eventually("the appliance answers", || {
            assert!(!program.has_ended(), "{}", program.err());
            self.status().filter(|status| status.pid == pid)
        });
        Appliance { program }
    }

    /// The appliance at a glance; nothing when none runs.
    pub fn status(&self) -> Option<Status> {
        Client::new(self.socket()).get("/weft/v1/status").ok()
    }

    /// `weft ps`.
    #[track_caller]
    pub fn ps(&self) -> Vec<SandboxLine> {
        self.json("ps")
    }

    /// The names of the sandboxes.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        self.ps().into_iter().map(|line| line.name).collect()
    }

    /// The first endpoint of a sandbox, once it is there.
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> Assigned {
        self.endpoints(name)[0].clone()
    }

    /// All endpoints of a sandbox, once it is there.
    #[track_caller]
    pub fn endpoints(&self, name: &str) -> Vec<Assigned> {
        let what = format!("sandbox {name} is there");
        let line = eventually(&what, || self.ps().into_iter().find(|line| line.name == name));
        line.endpoints
    }

    /// Waits until a sandbox has gone from the lists.
    #[track_caller]
    pub fn wait_until_gone(&self, name: &str) {
        let what = format!("sandbox {name} is gone");
        eventually(&what, || (!self.names().iter().any(|other| other == name)).then_some(()));
    }

    /// `weft show ports`.
    #[track_caller]
    pub fn ports(&self) -> Vec<PortLine> {
        self.all_ports().into_iter().filter(|line| line.port.is_some()).collect()
    }

    /// The same with the sums of ports that have gone.
    #[track_caller]
    pub fn all_ports(&self) -> Vec<PortLine> {
        self.json("show ports")
    }

    /// `weft show fdb`.
    #[track_caller]
    pub fn fdb(&self) -> Vec<FdbLine> {
        self.json("show fdb")
    }

    /// `weft show drops`.
    #[track_caller]
    pub fn drops(&self) -> Vec<DropLine> {
        self.json("show drops")
    }

    /// How many frames of a sandbox were dropped for a reason.
    #[track_caller]
    pub fn dropped(&self, sandbox: &str, reason: &str) -> u64 {
        let lines = self.drops();
        let own = lines.iter().filter(|line| line.sandbox == sandbox && line.reason == reason);
        own.map(|line| line.count).sum()
    }

    #[track_caller]
    fn json<T: DeserializeOwned>(&self, verb: &str) -> T {
        let text = self.weft(&format!("{verb} --format json")).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }
}
