//! `weft attach`: an endpoint for a stack that exists already.
//!
//! A namespace gets a TAP, made with the rights of whoever attaches; so does the host's own stack; a
//! virtual machine gets a stream socket. The process stays for as long as the endpoint shall, and
//! the endpoint goes with it.
//!
//! A TAP that is made inside a namespace keeps the namespace alive. Where the caller may, the TAP is
//! therefore made outside and moved in, so that `ip netns del` means what it says.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::inside::{self, FORWARDED, InsideError, message};
use super::link::Links;
use super::session::{Event, Session, SessionError};
use super::{fdpass, remedy};
use crate::api::client::Client;
use crate::api::shapes::{Assigned, AttachRequest};
use crate::socket_path::SocketPath;
use crate::sys::{self, process::Fork};

/// The kernel puts a number for the `%d`; the name lasts until the TAP has moved.
const PASSING_NAME: &str = "weft%d";

/// What helps when a namespace is somebody else's.
const RIGHTS: &str = "entering a namespace takes the rights of its owner; try sudo";

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
    /// The namespace could not be opened.
    #[error("{} cannot be opened", .0.display())]
    Open(PathBuf, #[source] io::Error),
    /// There is no such process.
    #[error("process {0} cannot be found")]
    Process(u32, #[source] io::Error),
    /// The namespace could not be entered.
    #[error("the namespace {0} cannot be entered")]
    Enter(String, #[source] io::Error),
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
            Self::Open(..) => Some("`ip netns list` and `lsns -t net` list namespaces".to_owned()),
            Self::Enter(..) => Some(RIGHTS.to_owned()),
            Self::SetUp(text) if text.contains("/dev/net/tun") && text.contains("permitted") => {
                Some("making a TAP in this namespace takes CAP_NET_ADMIN; try sudo".to_owned())
            }
            Self::SetUp(text) if text.contains("cannot be entered") => Some(RIGHTS.to_owned()),
            Self::SetUp(text) => remedy::inside(text),
            Self::Listen(..) => Some("choose another path for the socket".to_owned()),
            Self::Process(..) | Self::Gone(_) | Self::Keep(_) => None,
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
    let spaces = Spaces::open(target)?;
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
    spaces: Spaces,
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
        Target::Netns(_) | Target::Pid(_) => session.offer(0, tap_inside(&spaces, &endpoint)?)?,
        Target::Tap(name) => session.offer(0, tap_here(name, &endpoint)?)?,
        Target::Qemu(_) => {}
    }
    // An open descriptor keeps a namespace alive that somebody wants to delete.
    let owner = spaces.owner;
    drop((spaces.user, spaces.net));
    let signals = sys::process::signals(&FORWARDED[..4])?;
    ready(session.name(), &endpoint);
    let guests = guests.map(|guests| &guests.listener);
    Keeper { session, endpoint, signals, owner }.keep(guests)
}

/// The namespaces to enter, by descriptor.
struct Spaces {
    user: Option<File>,
    net: Option<File>,
    /// The process they were asked of.
    owner: Option<OwnedFd>,
    name: String,
}

impl Spaces {
    fn open(target: &Target) -> Result<Self, AttachError> {
        let open = |path: &Path| {
            File::open(path).map_err(|error| AttachError::Open(path.to_owned(), error))
        };
        match target {
            Target::Netns(path) => {
                let name = path.display().to_string();
                Ok(Self { user: None, net: Some(open(path)?), owner: None, name })
            }
            Target::Pid(pid) => {
                let process = i32::try_from(*pid).ok().and_then(Pid::from_raw);
                let owner = process
                    .ok_or(rustix::io::Errno::SRCH)
                    .and_then(|process| pidfd_open(process, PidfdFlags::empty()))
                    .map_err(|errno| AttachError::Process(*pid, errno.into()))?;
                let user = PathBuf::from(format!("/proc/{pid}/ns/user"));
                let net = open(Path::new(&format!("/proc/{pid}/ns/net")))?;
                let foreign = is_foreign(&user)?;
                let user = if foreign { Some(open(&user)?) } else { None };
                // The number may be another process's by now; the namespaces just opened are the
                // right ones only if the one that was asked for still runs.
                if has_ended(&owner)? {
                    let gone = rustix::io::Errno::SRCH.into();
                    return Err(AttachError::Process(*pid, gone));
                }
                let name = format!("of process {pid}");
                Ok(Self { user, net: Some(net), owner: Some(owner), name })
            }
            Target::Tap(_) | Target::Qemu(_) => {
                Ok(Self { user: None, net: None, owner: None, name: String::new() })
            }
        }
    }

    fn enter(&self) -> Result<(), AttachError> {
        let spaces =
            [(&self.user, LinkNameSpaceType::User), (&self.net, LinkNameSpaceType::Network)];
        for (space, kind) in spaces {
            if let Some(space) = space {
                move_into_link_name_space(space.as_fd(), Some(kind))
                    .map_err(|errno| AttachError::Enter(self.name.clone(), errno.into()))?;
            }
        }
        Ok(())
    }
}

fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut ended, Some(&at_once))? > 0)
}

/// Whether the namespace at `path` is not the one this process is in.
pub fn is_foreign(path: &Path) -> Result<bool, AttachError> {
    let kind = path.file_name().unwrap_or_default();
    let target = |path: &Path| {
        std::fs::read_link(path).map_err(|error| AttachError::Open(path.to_owned(), error))
    };
    Ok(target(path)? != target(&Path::new("/proc/self/ns").join(kind))?)
}

/// Makes a TAP for a namespace: outside and moved in, or else inside.
fn tap_inside(spaces: &Spaces, endpoint: &Assigned) -> Result<OwnedFd, AttachError> {
    let outside = if spaces.user.is_none() { sys::tap::open(PASSING_NAME).ok() } else { None };
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
    let namespace = spaces.net.as_ref().map(AsFd::as_fd);
    if let (Some(tap), Some(namespace)) = (&outside, namespace) {
        move_in(tap, namespace, &endpoint.ifname).map_err(|error| {
            AttachError::SetUp(format!("moving the TAP {}: {error}", endpoint.ifname))
        })?;
    }
    let child = match sys::process::fork_into(0)? {
        Fork::Child => enter_and_set_up(spaces, endpoint, outside.is_some(), &theirs),
        Fork::Parent(pid) => pid,
    };
    drop(theirs);
    let mut octets = [0; 4096];
    let mut descriptors = Vec::new();
    let len = fdpass::receive(ours.as_fd(), &mut octets, &mut descriptors)?;
    let _ = waitpid(Some(child), WaitOptions::empty());
    match (octets[..len].first().copied(), descriptors.pop().or(outside)) {
        (Some(message::TAP), Some(tap)) => Ok(tap),
        (Some(message::ERROR), _) => {
            Err(AttachError::SetUp(String::from_utf8_lossy(&octets[1..len]).into_owned()))
        }
        _ => Err(AttachError::SetUp("the helper process died".to_owned())),
    }
}

fn move_in(tap: &OwnedFd, namespace: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let identity = sys::tap::identify(tap.as_fd())?;
    let mut links = Links::open()?;
    let index = links.index(&identity.name)?;
    links.hand_over(index, namespace, name)
}

/// In a process of its own: enters the namespace, makes the TAP unless it is there, sets it up.
fn enter_and_set_up(spaces: &Spaces, endpoint: &Assigned, is_made: bool, control: &OwnedFd) -> ! {
    let made = || -> Result<Option<OwnedFd>, String> {
        spaces.enter().map_err(|error| crate::cli::chain(&error))?;
        let mut links = Links::open().map_err(|error| error.to_string())?;
        let text = |error: InsideError| error.to_string();
        if is_made {
            inside::configure(&mut links, &endpoint.ifname, endpoint).map(|()| None).map_err(text)
        } else {
            inside::make_tap(&mut links, endpoint).map(Some).map_err(text)
        }
    };
    let sent = match made() {
        Ok(tap) => fdpass::send(control.as_fd(), &[message::TAP], tap.as_ref().map(AsFd::as_fd)),
        Err(text) => {
            let mut octets = vec![message::ERROR];
            octets.extend_from_slice(text.as_bytes());
            fdpass::send(control.as_fd(), &octets, None)
        }
    };
    sys::process::exit_now(i32::from(sent.is_err()))
}

/// Makes, or attaches to, a TAP in this process's namespace. Without the capability to set it up, as
/// with a persistent TAP that an administrator made for the user, it is left as it is.
fn tap_here(name: &str, endpoint: &Assigned) -> Result<OwnedFd, AttachError> {
    let tap = sys::tap::open(name).map_err(|error| {
        AttachError::SetUp(format!("opening the TAP {name} (/dev/net/tun): {error}"))
    })?;
    let mut links = Links::open()?;
    match inside::configure(&mut links, name, endpoint) {
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
