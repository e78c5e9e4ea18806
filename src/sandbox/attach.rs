//! `weft attach`: an endpoint for a stack that exists already.
//!
//! A namespace gets a TAP, made with the rights of whoever attaches; so does the host's own stack; a
//! virtual machine gets a stream socket. The process stays for as long as the endpoint shall, and
//! the endpoint goes with it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::enter::{self, EnterError, Spaces};
use super::inside::{self, FORWARDED};
use super::link::Links;
use super::session::{Event, Session, SessionError};
use crate::api::client::Client;
use crate::api::shapes::{Assigned, AttachRequest};
use crate::socket_path::SocketPath;
use crate::sys;

/// What an endpoint is made for.
#[derive(Clone, Debug)]
pub enum Target {
    /// The namespace at this path.
    Netns(PathBuf),
    /// The namespaces of this process.
    Pid(u32),
    /// A TAP of this name in the caller's own namespace.
    Tap(String),
    /// A virtual machine that connects to this socket.
    Qemu(PathBuf),
}

/// Why nothing was attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The appliance could not be had, or refused.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The namespace could not be had, or no TAP in it.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The TAP could not be made or set up; in the words of the step that failed.
    #[error("the endpoint cannot be set up: {0}")]
    SetUp(String),
    /// The socket for the virtual machine could not be made.
    #[error("the socket {} cannot be made", .0.display())]
    Listen(PathBuf, #[source] io::Error),
    /// The device was deleted, or its namespace was.
    #[error("the interface {0} has gone")]
    Gone(String),
    /// The process could not go on.
    #[error("the endpoint cannot be kept")]
    Keep(#[from] io::Error),
}

impl AttachError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Session(error) => error.help(),
            Self::Enter(error) => error.help(),
            Self::SetUp(text) => enter::help(text),
            Self::Listen(..) => Some("choose another path for the socket".to_owned()),
            Self::Gone(_) | Self::Keep(_) => None,
        }
    }
}

/// Attaches `target`, tells `ready` the endpoint, and stays until it is told to end.
///
/// # Errors
/// See [`AttachError`]; everything made so far is gone again.
pub fn attach(
    client: &Client,
    request: &AttachRequest,
    target: &Target,
    start: bool,
    ready: impl FnOnce(&str, &Assigned),
) -> Result<(), AttachError> {
    let spaces = match target {
        Target::Netns(path) => Some(Spaces::at(path)?),
        Target::Pid(pid) => Some(Spaces::of(*pid)?),
        Target::Tap(_) | Target::Qemu(_) => None,
    };
    let guests = match target {
        Target::Qemu(path) => Some(listen(path)?),
        Target::Netns(_) | Target::Pid(_) | Target::Tap(_) => None,
    };
    let mut session = Session::open(client, request, start)?;
    let outcome = serve(&mut session, target, spaces, guests.as_ref(), ready);
    session.part();
    outcome
}

/// Makes the endpoint's port and keeps it.
fn serve(
    session: &mut Session,
    target: &Target,
    spaces: Option<Spaces>,
    guests: Option<&Guests>,
    ready: impl FnOnce(&str, &Assigned),
) -> Result<(), AttachError> {
    let Some(endpoint) = session.endpoints().first().cloned() else {
        return Err(AttachError::SetUp("the appliance gave no endpoint".to_owned()));
    };
    if !endpoint.port {
        let text = format!("network {} has no ports to attach to", endpoint.network);
        return Err(AttachError::SetUp(text));
    }
    match target {
        Target::Netns(_) | Target::Pid(_) => {
            if let Some(spaces) = &spaces {
                session.offer(0, spaces.make_tap(&endpoint)?)?;
            }
        }
        Target::Tap(name) => session.offer(0, tap_here(name, &endpoint)?)?,
        Target::Qemu(_) => {}
    }
    // An open descriptor keeps a namespace alive that somebody wants to delete.
    let owner = spaces.and_then(Spaces::close);
    let signals = sys::process::signals(&FORWARDED[..4])?;
    ready(session.name(), &endpoint);
    let guests = guests.map(|guests| &guests.listener);
    Keeper { session, endpoint, signals, owner }.keep(guests)
}

/// Makes, or attaches to, a TAP in this process's namespace. Without the capability to set it up, as
/// with a persistent TAP that an administrator made for the user, it is left as it is.
fn tap_here(name: &str, endpoint: &Assigned) -> Result<OwnedFd, AttachError> {
    let tap = sys::tap::open(name).map_err(|error| {
        AttachError::SetUp(format!("opening the TAP {name} (/dev/net/tun): {error}"))
    })?;
    let mut links = Links::open()?;
    // The host knows its own way out.
    let own = Assigned { routers: Vec::new(), ..endpoint.clone() };
    match inside::configure(&mut links, name, &own) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let addresses: Vec<String> = endpoint
                .addresses
                .iter()
                .map(|address| format!("ip address add {address} dev {name}"))
                .collect();
            eprintln!(
                "weft: {name} is attached; to set it up, as root: ip link set {name} address {} up; {}",
                endpoint.mac,
                addresses.join("; ")
            );
        }
        Err(error) => return Err(AttachError::SetUp(error.to_string())),
    }
    Ok(tap)
}

/// A listening socket whose path goes when it does.
struct Guests {
    listener: UnixListener,
    _path: SocketPath,
}

fn listen(path: &Path) -> Result<Guests, AttachError> {
    let failed = |error| AttachError::Listen(path.to_owned(), error);
    let (listener, bound) = SocketPath::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Guests { listener, _path: bound })
}

/// Keeps an endpoint until it is told to end.
struct Keeper<'a> {
    session: &'a mut Session,
    endpoint: Assigned,
    signals: OwnedFd,
    /// The process whose end is the endpoint's end: the TAP would keep its namespace alive.
    owner: Option<OwnedFd>,
}

impl Keeper<'_> {
    fn keep(self, guests: Option<&UnixListener>) -> Result<(), AttachError> {
        let mut guest_is_there = false;
        loop {
            let waiting = guests.filter(|_| !guest_is_there && !self.session.is_lost());
            let (over, knocked) = self.wait(waiting)?;
            if over {
                return Ok(());
            }
            if knocked && let Some((guest, _)) = waiting.and_then(|guests| guests.accept().ok()) {
                self.session.entrust(0, OwnedFd::from(guest))?;
                guest_is_there = true;
            }
            match self.session.next_event() {
                Some(Event::Hosts(_) | Event::Lost) | None => {}
                // It was made for one network; the appliance knows, and asks for no more.
                Some(Event::Connect(_) | Event::Disconnect(_)) => {}
                Some(Event::Signal(_)) => return Ok(()),
                Some(Event::PortGone(place)) => {
                    self.session.withdraw(place);
                    guest_is_there = false;
                    if guests.is_none() {
                        return Err(AttachError::Gone(self.endpoint.ifname));
                    }
                }
            }
            if self.session.is_declared() && self.session.is_lost() {
                return Ok(());
            }
        }
    }

    /// Waits for the end, by a signal or the owner's; for a guest; for something the session sees.
    fn wait(&self, guests: Option<&UnixListener>) -> io::Result<(bool, bool)> {
        let lifeline = self.session.lifeline();
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut owner_at = None;
        let mut guests_at = None;
        if let Some(owner) = &self.owner {
            owner_at = Some(watched.len());
            watched.push(PollFd::new(owner, PollFlags::IN));
        }
        if let Some(lifeline) = &lifeline {
            watched.push(PollFd::new(lifeline, PollFlags::IN));
        }
        if let Some(guests) = &guests {
            guests_at = Some(watched.len());
            watched.push(PollFd::new(guests, PollFlags::IN));
        }
        let timeout = self.session.patience().and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let at = |place: Option<usize>| {
            place.and_then(|place| watched.get(place)).is_some_and(|fd| !fd.revents().is_empty())
        };
        Ok((at(Some(0)) || at(owner_at), at(guests_at)))
    }
}
