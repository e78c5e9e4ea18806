//! What crosses the API socket, in the words of JSON.
//!
//! Requests and answers of `/weft/v1/…`, and the messages of a [life line](super::lifeline). Fields
//! are only ever added; a reader passes over those it does not know, so that an appliance and a
//! sandbox of neighbouring versions understand each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weft_frame::MacAddr;

use crate::cnm::Id;

/// An error as the API tells it; `message` is Docker's field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What failed and why, one line.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// What holds the other end of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A program that `weft run` started.
    #[default]
    Run,
    /// A network namespace that existed before.
    Netns,
    /// A TAP in the appliance's own namespace.
    Tap,
    /// A virtual machine behind a stream socket.
    Qemu,
}

/// One network that a sandbox asks to be on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRequest {
    /// The endpoint's id, when the sandbox has had it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// Name or id of the network.
    pub network: String,
    /// A wanted IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// A wanted IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip6: Option<Ipv6Addr>,
    /// A wanted MAC, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Further names on that network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The interface's name inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
}

/// The first message of a life line: who is there, and on which networks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The sandbox's id, when it has had one before the appliance went away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Id>,
    /// The sandbox's name; one is made up when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// The process that holds the life line.
    pub pid: u32,
    /// The program, or the path, for lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The networks.
    pub endpoints: Vec<EndpointRequest>,
    /// The endpoint of the configuration file that this sandbox was started for.
    #[serde(default)]
    pub declared: bool,
}

/// The octets of a command that lists show.
const MAX_COMMAND: usize = 4096;

/// As much of a command as lists show.
pub fn shown_command(command: &[String]) -> Vec<String> {
    let mut room = MAX_COMMAND;
    let mut shown = Vec::new();
    for word in command {
        let end = word.floor_char_boundary(room);
        shown.push(word[..end].to_owned());
        // A word without letters takes room as well.
        room = match room.checked_sub(word.len() + 1) {
            Some(left) => left,
            None => break,
        };
    }
    shown
}

/// One endpoint as the appliance gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Its id.
    pub id: Id,
    /// The network's name.
    pub network: String,
    /// Its MAC, as text.
    pub mac: String,
    /// Its further names on that network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Its addresses with their subnets' prefixes.
    pub addresses: Vec<IpNetwork>,
    /// The largest IP packet, in octets.
    pub mtu: u16,
    /// The interface's name inside.
    pub ifname: String,
    /// The routers outside, by which what is for nobody else goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<IpAddr>,
    /// Whether a port on a switch is to be made: not on networks of the drivers `host` and `none`.
    pub port: bool,
    /// Whether the sandbox shares the host's stack.
    #[serde(default)]
    pub host: bool,
}

impl Assigned {
    /// The MAC as a value.
    pub fn mac(&self) -> MacAddr {
        self.mac.parse().unwrap_or(MacAddr::ZERO)
    }
}

/// What a sandbox says on its life line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromSandbox {
    /// The first message.
    Attach(AttachRequest),
    /// A descriptor travels with this message: the port of that endpoint.
    Port {
        /// The endpoint it belongs to.
        endpoint: Id,
    },
    /// The program runs: the sandbox's first process, for `weft exec`.
    Running {
        /// Its process id as the host sees it.
        pid: u32,
    },
    /// The answer to `Connect` when there can be no such interface. Otherwise it is `Port`.
    Unconnected {
        /// The endpoint.
        endpoint: Id,
        /// Why not.
        failure: Failure,
    },
    /// The answer to `Disconnect`: the interface is let go.
    Disconnected {
        /// The endpoint.
        endpoint: Id,
    },
}

/// What the appliance says on a life line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromAppliance {
    /// The answer to `Attach`.
    Assigned {
        /// The sandbox's id.
        sandbox: Id,
        /// Its name.
        name: String,
        /// Its endpoints, in the order asked for.
        endpoints: Vec<Assigned>,
        /// Whether the appliance was started on demand and should be again when it is lost.
        on_demand: bool,
    },
    /// The answer to `Port`: frames pass.
    Attached {
        /// The endpoint.
        endpoint: Id,
    },
    /// The answer to anything that could not be done. The connection ends.
    Refused(Failure),
    /// The names and addresses of the other endpoints, as text of a hosts file.
    Hosts(String),
    /// The device or the peer behind an endpoint has gone.
    PortGone {
        /// The endpoint.
        endpoint: Id,
    },
    /// The sandbox is on one more network: make the interface and offer its port.
    Connect(Box<Assigned>),
    /// The sandbox is no longer on the network of this endpoint.
    Disconnect {
        /// The endpoint.
        endpoint: Id,
    },
    /// Somebody asks the sandbox to end: send the program this signal.
    Signal(i32),
    /// The answer takes longer, as somebody else is asked first.
    Wait {
        /// How long at most.
        seconds: u64,
    },
}

/// `GET /weft/v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The appliance's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// The configuration file, when it has one.
    pub file: Option<PathBuf>,
    /// The folder that its state is kept in, when it is kept.
    pub state: Option<PathBuf>,
    /// Whether it ends by itself when it is idle.
    pub on_demand: bool,
    /// Data-path threads.
    pub workers: usize,
    /// How many networks there are.
    pub networks: usize,
    /// How many sandboxes there are.
    pub sandboxes: usize,
    /// How many endpoints there are.
    pub endpoints: usize,
    /// Resident memory, in KiB.
    pub resident_kib: u64,
    /// The interfaces of the host's that networks lead out by.
    #[serde(default)]
    pub uplinks: Vec<UplinkStatus>,
}

/// An uplink, as `weft status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// The network.
    pub network: String,
    /// The interface, or the VLAN on one.
    pub parent: String,
    /// `bridge`, `private`, `vepa` or `passthru`.
    pub mode: String,
    /// `up`, `down` or `gone`.
    pub condition: String,
    /// The number on the switch.
    pub port: u16,
}

/// One line of `weft ps`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxLine {
    /// The sandbox's id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The process whose namespaces `weft exec` enters; none for a virtual machine.
    pub pid: Option<u32>,
    /// The program, or the path.
    pub command: Vec<String>,
    /// Seconds since it came.
    pub age_s: u64,
    /// Its endpoints.
    pub endpoints: Vec<Assigned>,
}

/// One line of `weft show ports`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortLine {
    /// The number on the switch; none for the sum of a network's ports that have gone.
    pub port: Option<u16>,
    /// The network's name.
    pub network: String,
    /// The sandbox's name.
    pub sandbox: String,
    /// The endpoint's MAC.
    pub mac: String,
    /// The worker that reads it.
    pub worker: Option<usize>,
    /// Frames and octets in.
    pub received: u64,
    /// See `received`.
    pub received_octets: u64,
    /// Of these, forwarded to one port.
    pub forwarded: u64,
    /// Of these, flooded.
    pub flooded: u64,
    /// Of these, dropped.
    pub dropped: u64,
    /// Copies that forwarding and flooding made.
    pub copies: u64,
    /// Frames and octets out.
    pub transmitted: u64,
    /// See `transmitted`.
    pub transmitted_octets: u64,
    /// Copies dropped on their way out here.
    pub egress_dropped: u64,
}

/// One line of `weft show fdb`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FdbLine {
    /// The network's name.
    pub network: String,
    /// The station's address.
    pub mac: String,
    /// The port it is behind.
    pub port: u16,
    /// The sandbox behind that port.
    pub sandbox: String,
    /// Seconds since a frame came from it; none for an entry that does not age.
    pub age_s: Option<u32>,
}

/// One line of `weft show drops`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DropLine {
    /// The port where it was counted; none for ports that have gone since.
    pub port: Option<u16>,
    /// The sandbox behind it.
    pub sandbox: String,
    /// The network's name.
    pub network: String,
    /// The reason's label.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// What it means, in a sentence.
    pub meaning: String,
}

/// The answer to `POST /weft/v1/reload`, and the plan of `--dry-run`: what changes, a line each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Changes {
    /// One line per change.
    pub changes: Vec<String>,
}

/// The answer to `POST /weft/v1/down`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ended {
    /// Sandboxes that were asked to end.
    pub stopped: Vec<String>,
    /// Sandboxes that go on and will look for the next appliance.
    pub kept: Vec<String>,
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_show_the_beginning_of_a_command() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let long = "ä".repeat(MAX_COMMAND);
        let cases = [
            (words(&["sleep", "infinity"]), words(&["sleep", "infinity"])),
            (words(&[]), words(&[])),
            (words(&["echo", &long, "gone"]), words(&["echo", &long[..4090]])),
        ];
        for (command, shown) in cases {
            assert_eq!(shown_command(&command), shown);
        }
        assert!(shown_command(&vec![String::new(); 1 << 20]).len() <= MAX_COMMAND + 1);
    }
}
