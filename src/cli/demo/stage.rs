//! The demo's appliance and sandboxes: put up, asked, taken down.
//!
//! Everything is a process of this very binary with a socket in a folder of the demo's own. The
//! appliance is one of those that end when they are idle, and the sandboxes end with a pipe that
//! this process holds, so a demo that is killed leaves nothing either, a few seconds later.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;

use super::super::{Complaint, chain};
use super::peer::READY;
use crate::api::client::{Client, ClientError};
use crate::api::server::Down;
use crate::api::shapes::{Ended, SandboxLine, Status};

/// This binary, also when its file has been replaced since.
const OURSELVES: &str = "/proc/self/exe";
/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);
/// A socket's path has at most 107 octets; the rest is `/weft-demo-PID-N/weft.sock`.
const LONGEST_PARENT: usize = 75;
/// Folders of earlier demos with the same process id that may be in the way.
const ATTEMPTS: u32 = 16;

/// An appliance with its sandboxes.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
    client: Client,
    /// The appliance's process.
    appliance: Option<OwnedFd>,
    sandboxes: Vec<Child>,
}

impl Stage {
    /// An empty folder, and nothing else yet.
    pub(super) fn new() -> Result<Self, Complaint> {
        let parent = std::env::temp_dir();
        if parent.as_os_str().len() > LONGEST_PARENT {
            let text = format!("the path {} is too long for a socket in it", parent.display());
            return Err(Complaint::text(text).help(Some("name a shorter in TMPDIR".to_owned())));
        }
        let folder = make_folder(&parent)?;
        let client = Client::new(folder.join("weft.sock"));
        Ok(Self { folder, client, appliance: None, sandboxes: Vec::new() })
    }

    /// For questions to the appliance.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Starts the appliance; how long it took until it answers.
    pub(super) fn start_appliance(&mut self) -> Result<Duration, Complaint> {
        let begun = Instant::now();
        let output = self
            .weft("up")
            .args(["--on-demand", "--detach", "--state", "none"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Complaint::new(&error))?;
        let took = begun.elapsed();
        if !output.status.success() {
            return Err(heard(&output.stderr));
        }
        let status: Status = self.client.get("/weft/v1/status")?;
        let pid = i32::try_from(status.pid).ok().and_then(Pid::from_raw);
        self.appliance = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(took)
    }

    /// Starts a sandbox; how long it took until its program runs.
    pub(super) fn start_sandbox(&mut self, name: &str) -> Result<Duration, Complaint> {
        let begun = Instant::now();
        let mut child = self
            .weft("run")
            .args(["--name", name, "--", OURSELVES, "demo-peer", "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Complaint::new(&error))?;
        let ready = says_ready(&mut child);
        let took = begun.elapsed();
        if !ready {
            let said = last_words(&mut child);
            return Err(heard(&said));
        }
        self.sandboxes.push(child);
        Ok(took)
    }

    /// A sandbox's IPv4 address.
    pub(super) fn address(&self, name: &str) -> Result<Ipv4Addr, Complaint> {
        let line: SandboxLine = self.client.get(&format!("/weft/v1/sandboxes/{name}"))?;
        let mut addresses = line.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        let found = addresses.find_map(|address| match address.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        found.ok_or_else(|| Complaint::text(format!("{name} has no IPv4 address")))
    }

    /// Has an errand run in a sandbox; what it answers.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        name: &str,
        errand: &[&str],
    ) -> Result<T, Complaint> {
        let output = self
            .weft("exec")
            .args([name, "--", OURSELVES, "demo-peer"])
            .args(errand)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Complaint::new(&error))?;
        if !output.status.success() {
            return Err(heard(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| Complaint::new(&error))
    }

    /// Takes everything down and looks whether it has gone.
    pub(super) fn end(&mut self) -> Result<String, Complaint> {
        let begun = Instant::now();
        let count = self.sandboxes.len();
        for mut child in std::mem::take(&mut self.sandboxes) {
            drop(child.stdin.take());
            if !has_ended(&mut child) {
                return Err(Complaint::text(format!("process {} does not end", child.id())));
            }
        }
        match self.client.post::<Ended>("/weft/v1/down", &Down { keep: false }) {
            Ok(_) | Err(ClientError::NotRunning(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(process) = self.appliance.take()
            && !is_ready(&process)
        {
            return Err(Complaint::text("the appliance does not end"));
        }
        self.clear()?;
        let took = begun.elapsed().as_millis();
        Ok(format!("{count} sandboxes, the appliance and its socket are gone, in {took} ms"))
    }

    /// Removes the folder, which the appliance has emptied, and perhaps removed.
    fn clear(&self) -> Result<(), Complaint> {
        match std::fs::remove_dir(&self.folder) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let text = format!("{} stays: {}", self.folder.display(), chain(&error));
                Err(Complaint::text(text))
            }
        }
    }

    fn weft(&self, verb: &str) -> Command {
        let mut command = Command::new(OURSELVES);
        command.arg0("weft").args([OsStr::new(verb), OsStr::new("--socket")]);
        command.arg(self.client.socket());
        command
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After an orderly end there is nothing to do; after a failure of it, this is what is left.
        for child in &mut self.sandboxes {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.client.post::<Ended>("/weft/v1/down", &Down { keep: false });
        if let Some(process) = &self.appliance {
            is_ready(process);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes a folder that nobody had before, for its owner only.
fn make_folder(parent: &Path) -> Result<PathBuf, Complaint> {
    let pid = std::process::id();
    for attempt in 0..ATTEMPTS {
        let name = if attempt == 0 {
            format!("weft-demo-{pid}")
        } else {
            format!("weft-demo-{pid}-{attempt}")
        };
        let folder = parent.join(name);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let text = format!("the folder {} cannot be made", folder.display());
                let text = format!("{text}: {}", chain(&error));
                return Err(Complaint::text(text).help(Some("name another in TMPDIR".to_owned())));
            }
        }
    }
    let text = format!("{} is full of folders called weft-demo-{pid}", parent.display());
    Err(Complaint::text(text).help(Some("remove them".to_owned())))
}

/// Waits for a server to say that it listens.
fn says_ready(child: &mut Child) -> bool {
    let Some(output) = child.stdout.take() else { return false };
    let mut line = String::new();
    is_ready(&output) && BufReader::new(output).read_line(&mut line).is_ok() && line.trim() == READY
}

/// Ends a process that did not do its work; what it had to say.
fn last_words(child: &mut Child) -> Vec<u8> {
    drop(child.stdin.take());
    let mut said = Vec::new();
    if !has_ended(child) {
        return b"it takes too long".to_vec();
    }
    if let Some(mut stderr) = child.stderr.take() {
        // What cannot be read was not said.
        let _ = stderr.read_to_end(&mut said);
    }
    said
}

/// Waits for a process's end and brings it about when it takes too long; whether it came by itself.
fn has_ended(child: &mut Child) -> bool {
    let patience = Instant::now() + PATIENCE;
    while Instant::now() < patience {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    // The sandbox's own processes go with it.
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Waits until a descriptor has something to tell: octets, or a process's end.
fn is_ready(descriptor: impl std::os::fd::AsFd) -> bool {
    let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
    let patience = Timespec::try_from(PATIENCE).ok();
    poll(&mut watched, patience.as_ref()).is_ok_and(|ready| ready > 0)
}

/// A failure in the words of another process of ours.
fn heard(stderr: &[u8]) -> Complaint {
    let said = String::from_utf8_lossy(stderr);
    let mut text = Vec::new();
    let mut help = None;
    for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("help: ") {
            Some(remedy) => help = Some(remedy.to_owned()),
            None => text.push(line.strip_prefix("weft: ").unwrap_or(line)),
        }
    }
    let text = if text.is_empty() { "it ended without a word".to_owned() } else { text.join("; ") };
    Complaint::text(text).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_elsewhere_is_told_in_its_own_words() {
        let cases = [
            ("weft: no way\nhelp: find one\n", "no way", Some("find one")),
            ("weft: no way\n", "no way", None),
            ("one\n\nweft: two\n", "one; two", None),
            ("", "it ended without a word", None),
        ];
        for (said, text, help) in cases {
            let complaint = heard(said.as_bytes());
            assert_eq!((complaint.text.as_str(), complaint.help.as_deref()), (text, help));
        }
    }

    #[test]
    fn a_folder_in_the_way_is_left_alone() {
        let parent = make_folder(&std::env::temp_dir()).unwrap();
        let first = make_folder(&parent).unwrap();
        let second = make_folder(&parent).unwrap();
        assert_ne!(first, second);
        std::fs::remove_dir_all(&parent).unwrap();
    }
}
