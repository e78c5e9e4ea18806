//! What runs inside the demo's sandboxes: a server, and the errands that the demo sends there.
//!
//! An errand prints one JSON value and ends. The server ends when its standard input does, which is
//! a pipe that the demo holds: however the demo ends, its sandboxes do too.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipnetwork::{IpNetwork, Ipv4Network};
use serde::{Deserialize, Serialize};

use super::super::args::Errand;
use super::super::{Complaint, say};
use super::{ping, transfer};
use crate::sandbox::link::Links;

/// Where the server listens.
pub(super) const PORT: u16 = 5001;
/// How many frames go out under a borrowed address.
pub(super) const BORROWED: u64 = 3;
/// What the server prints when it listens.
pub(super) const READY: &str = "ready";
/// How long a neighbour's name may take to arrive.
const NEWS: Duration = Duration::from_secs(2);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// The port of datagrams that nobody waits for (RFC 863).
const DISCARD: u16 = 9;
/// The sandbox's first interface.
const INTERFACE: &str = "eth0";

/// Where a name led.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    /// The first IPv4 address of that name.
    pub(super) address: Ipv4Addr,
}

/// Runs one errand.
pub(in super::super) fn run(errand: &Errand) -> Result<ExitCode, Complaint> {
    let failed = |error: io::Error| Complaint::new(&error);
    match errand {
        Errand::Serve => serve().map_err(failed)?,
        Errand::Find { name } => {
            let address = find(name)
                .ok_or_else(|| Complaint::text(format!("the name {name} leads nowhere")))?;
            answer(&Found { address })?;
        }
        Errand::Ping { station } => answer(&ping::ping(*station).map_err(failed)?)?,
        Errand::Send { sink } => answer(&transfer::send((*sink).into()).map_err(failed)?)?,
        Errand::Borrow { address, station } => {
            borrow(*address, *station).map_err(failed)?;
            answer(&())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(value: &impl Serialize) -> Result<(), Complaint> {
    say(&serde_json::to_string(value).map_err(|error| Complaint::new(&error))?);
    Ok(())
}

/// Takes transfers until the demo ends.
fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    std::thread::spawn(move || {
        for sender in listener.incoming().flatten() {
            // The sender knows how it went; it has the count, or it has not.
            let _ = transfer::take(&sender);
        }
    });
    say(READY);
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Resolves a name, as any program would. News of a neighbour arrives shortly after it does.
fn find(name: &str) -> Option<Ipv4Addr> {
    let patience = Instant::now() + NEWS;
    loop {
        let found = (name, 0).to_socket_addrs().ok().and_then(|mut found| {
            found.find_map(|address| match address.ip() {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
        });
        if found.is_some() || Instant::now() >= patience {
            return found;
        }
        std::thread::sleep(LOOK);
    }
}

/// Takes somebody else's address, as a sandbox may do with a stack of its own, and writes to
/// `station` from it. Writes once from the own address first: without the station's MAC, ARP would
/// be all that goes out.
fn borrow(address: Ipv4Addr, station: Ipv4Addr) -> io::Result<()> {
    let station = SocketAddrV4::new(station, DISCARD);
    meet(station)?;
    let mut links = Links::open()?;
    let index = links.index(INTERFACE)?;
    links.add_address(index, IpNetwork::V4(Ipv4Network::from(address)))?;
    let socket = UdpSocket::bind((address, 0))?;
    for _ in 0..BORROWED {
        socket.send_to(b"from somebody else", station)?;
    }
    Ok(())
}

/// Has the kernel learn a station's MAC.
fn meet(station: SocketAddrV4) -> io::Result<()> {
    let answers = ping::ping(*station.ip())?;
    if answers.received == 0 {
        return Err(io::Error::other(format!("{} does not answer", station.ip())));
    }
    Ok(())
}
