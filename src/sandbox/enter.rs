//! A TAP in a stack that exists: entered, made, handed out.
//!
//! A child process enters the namespaces, makes the TAP there, sets it up, and passes its
//! descriptor back; the caller stays where it is. Interfaces are removed in the same way.
//!
//! A TAP that is made inside a namespace keeps the namespace alive. Where the caller may, the TAP is
//! therefore made outside and moved in, so that `ip netns del` means what it says.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::inside::{self, InsideError, message};
use super::link::Links;
use super::{fdpass, remedy};
use crate::api::shapes::Assigned;
use crate::sys::{self, process::Fork};

/// The kernel puts a number for the `%d`; the name lasts until the TAP has moved.
const PASSING_NAME: &str = "weft%d";
/// What helps when a namespace is somebody else's.
const RIGHTS: &str = "entering a namespace takes the rights of its owner; try sudo";

/// Why there is no TAP in a namespace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
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
    /// No process could be had to do it.
    #[error("the namespace cannot be worked in")]
    Work(#[from] io::Error),
}

impl EnterError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Open(..) => Some("`ip netns list` and `lsns -t net` list namespaces".to_owned()),
            Self::Enter(..) => Some(RIGHTS.to_owned()),
            Self::SetUp(text) => help(text),
            Self::Process(..) | Self::Work(_) => None,
        }
    }
}

/// What helps when a step on the inside failed, judged by its message.
pub fn help(text: &str) -> Option<String> {
    if text.contains("/dev/net/tun") && text.contains("permitted") {
        return Some("making a TAP in this namespace takes CAP_NET_ADMIN; try sudo".to_owned());
    }
    if text.contains("cannot be entered") {
        return Some(RIGHTS.to_owned());
    }
    remedy::inside(text)
}

/// The namespaces to enter, by descriptor.
#[derive(Debug)]
pub struct Spaces {
    user: Option<File>,
    net: File,
    /// The process they were asked of.
    owner: Option<OwnedFd>,
    name: String,
}

impl Spaces {
    /// The network namespace at a path.
    ///
    /// # Errors
    /// [`EnterError::Open`].
    pub fn at(path: &Path) -> Result<Self, EnterError> {
        let name = path.display().to_string();
        Ok(Self { user: None, net: open(path)?, owner: None, name })
    }

    /// The network namespace of a process, and its user namespace if that is not ours.
    ///
    /// # Errors
    /// [`EnterError::Process`], [`EnterError::Open`].
    pub fn of(pid: u32) -> Result<Self, EnterError> {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let owner = process
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|process| pidfd_open(process, PidfdFlags::empty()))
            .map_err(|errno| EnterError::Process(pid, errno.into()))?;
        let user = PathBuf::from(format!("/proc/{pid}/ns/user"));
        let net = open(Path::new(&format!("/proc/{pid}/ns/net")))?;
        let foreign = is_foreign(&user)?;
        let user = if foreign { Some(open(&user)?) } else { None };
        // The number may be another process's by now; the namespaces just opened are the right ones
        // only if the one that was asked for still runs.
        if has_ended(&owner)? {
            return Err(EnterError::Process(pid, rustix::io::Errno::SRCH.into()));
        }
        let name = format!("of process {pid}");
        Ok(Self { user, net, owner: Some(owner), name })
    }

    /// Lets the namespaces go; what stays is the process they were asked of.
    pub fn close(self) -> Option<OwnedFd> {
        self.owner
    }

    /// Makes a TAP for an endpoint: outside and moved in, or else inside.
    ///
    /// # Errors
    /// See [`EnterError`].
    pub fn make_tap(&self, endpoint: &Assigned) -> Result<OwnedFd, EnterError> {
        let name = &endpoint.ifname;
        let outside = if self.user.is_none() { sys::tap::open(PASSING_NAME).ok() } else { None };
        if let Some(tap) = &outside {
            move_in(tap, self.net.as_fd(), name)
                .map_err(|error| EnterError::SetUp(format!("moving the TAP {name}: {error}")))?;
        }
        let made = self.work(|links| {
            if outside.is_some() {
                inside::configure(links, name, endpoint).map(|()| None)
            } else {
                inside::make_tap(links, endpoint).map(Some)
            }
        })?;
        let nothing = || EnterError::SetUp(format!("no TAP {name} was handed out"));
        made.or(outside).ok_or_else(nothing)
    }

    /// Removes an interface, at once, whoever else holds it open.
    ///
    /// # Errors
    /// See [`EnterError`].
    pub fn remove(&self, name: &str) -> Result<(), EnterError> {
        self.work(|links| inside::remove(links, name).map(|()| None)).map(drop)
    }

    /// Has `work` done in the namespaces, by a process of its own; the descriptor that it made.
    fn work(
        &self,
        work: impl FnOnce(&mut Links) -> Result<Option<OwnedFd>, InsideError>,
    ) -> Result<Option<OwnedFd>, EnterError> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(io::Error::from)?;
        let child = match sys::process::fork_into(0)? {
            Fork::Child => {
                let worked = self
                    .enter()
                    .map_err(|error| crate::cli::chain(&error))
                    .and_then(|()| Links::open().map_err(|error| error.to_string()))
                    .and_then(|mut links| work(&mut links).map_err(|error| error.to_string()));
                report(worked, &theirs)
            }
            Fork::Parent(pid) => pid,
        };
        drop(theirs);
        let mut octets = [0; 4096];
        let mut descriptors = Vec::new();
        let len = fdpass::receive(ours.as_fd(), &mut octets, &mut descriptors)?;
        let _ = waitpid(Some(child), WaitOptions::empty());
        match octets[..len].split_first() {
            Some((&message::TAP, _)) => Ok(descriptors.pop()),
            Some((&message::ERROR, text)) => {
                Err(EnterError::SetUp(String::from_utf8_lossy(text).into_owned()))
            }
            _ => Err(EnterError::SetUp("the helper process died".to_owned())),
        }
    }

    fn enter(&self) -> Result<(), EnterError> {
        let user = self.user.iter().map(|user| (user, LinkNameSpaceType::User));
        for (space, kind) in user.chain([(&self.net, LinkNameSpaceType::Network)]) {
            move_into_link_name_space(space.as_fd(), Some(kind))
                .map_err(|errno| EnterError::Enter(self.name.clone(), errno.into()))?;
        }
        Ok(())
    }
}

/// Tells the parent how it went, and ends.
fn report(worked: Result<Option<OwnedFd>, String>, control: &OwnedFd) -> ! {
    let sent = match worked {
        Ok(made) => fdpass::send(control.as_fd(), &[message::TAP], made.as_ref().map(AsFd::as_fd)),
        Err(text) => {
            let octets = [&[message::ERROR], text.as_bytes()].concat();
            fdpass::send(control.as_fd(), &octets, None)
        }
    };
    sys::process::exit_now(i32::from(sent.is_err()))
}

fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut ended, Some(&at_once))? > 0)
}

fn open(path: &Path) -> Result<File, EnterError> {
    File::open(path).map_err(|error| EnterError::Open(path.to_owned(), error))
}

/// Whether the namespace at `path` is not the one this process is in.
fn is_foreign(path: &Path) -> Result<bool, EnterError> {
    let kind = path.file_name().unwrap_or_default();
    let target = |path: &Path| {
        std::fs::read_link(path).map_err(|error| EnterError::Open(path.to_owned(), error))
    };
    Ok(target(path)? != target(&Path::new("/proc/self/ns").join(kind))?)
}

fn move_in(tap: &OwnedFd, namespace: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let identity = sys::tap::identify(tap.as_fd())?;
    let mut links = Links::open()?;
    let index = links.index(&identity.name)?;
    links.hand_over(index, namespace, name)
}
