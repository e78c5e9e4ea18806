//! `weft run`: a program in a network stack of its own, from start to exit status.
//!
//! The process that the user started is the supervisor. It stays in the host's namespaces, forks
//! the [inside] into new ones, hands the TAPs to the appliance, and then waits: for
//! the program's end, for signals to pass on, for news from the appliance. Supervisor, inside and
//! program share the terminal and its process group, so the keyboard's signals reach the program
//! without anybody passing them on.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::enter::{EnterError, Spaces};
use super::fdpass;
use super::identity::{self, Caller};
use super::inside::{self, FORWARDED, Plan, message};
use super::remedy;
use super::session::{Event, RETRY, Session, SessionError};
use crate::api::client::Client;
use crate::api::shapes::{Assigned, AttachRequest, Failure};
use crate::cnm::Id;
use crate::sys::process::{self as system, Fork};

/// The longest message from the inside.
const MAX_REPORT: usize = 4096;
/// How long the supervisor waits between two refusals by a new appliance.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a declared program may take to end when its appliance has.
const GRACE: Duration = Duration::from_secs(5);

/// What `weft run` was asked for.
#[derive(Debug)]
pub struct Options {
    /// Where the appliance is, or shall be.
    pub client: Client,
    /// The sandbox as it announces itself.
    pub request: AttachRequest,
    /// Whether the program sees itself as root.
    pub as_root: bool,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Whether an appliance may be started when none runs.
    pub start: bool,
}

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The appliance could not be had, or refused.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The kernel refused the namespaces.
    #[error("the sandbox's namespaces cannot be made")]
    Namespaces(#[source] io::Error),
    /// Something on the inside failed; its own words.
    #[error("the sandbox cannot be set up: {0}")]
    Inside(String),
    /// The program could not be started.
    #[error("{text}")]
    Program {
        /// Why.
        text: String,
        /// The exit code that says so in a shell.
        code: i32,
    },
    /// The supervisor itself failed.
    #[error("the sandbox cannot be supervised")]
    Supervise(#[from] io::Error),
}

impl RunError {
    /// The exit code that fits.
    pub fn code(&self) -> u8 {
        match self {
            Self::Program { code, .. } => u8::try_from(*code).unwrap_or(1),
            Self::Session(_) | Self::Namespaces(_) | Self::Inside(_) | Self::Supervise(_) => 1,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Session(SessionError::Refused(failure)) => failure.help.clone(),
            Self::Session(_) | Self::Program { .. } | Self::Supervise(_) => None,
            Self::Namespaces(error) => remedy::namespaces(error),
            Self::Inside(text) => remedy::inside(text),
        }
    }
}

/// What became of the program.
enum Report {
    Started,
    Unstarted(String),
    Ended(i32),
}

/// A sandbox that is set up.
struct Running {
    session: Session,
    inside: Pid,
    control: OwnedFd,
    hosts: Option<File>,
    signals: OwnedFd,
    /// When to look for a lost appliance next.
    retry_at: Option<Instant>,
    /// When a program that was asked to end is killed.
    kill_at: Option<Instant>,
}

/// Makes the sandbox, tells `ready` its name, and stays until the program has ended.
///
/// Returns the program's exit code, or 128 and the signal's number.
///
/// # Errors
/// See [`RunError`]; everything made so far is gone again.
pub fn run(options: Options, ready: impl FnOnce(&str)) -> Result<i32, RunError> {
    let mut session = Session::open(&options.client, &options.request, options.start)?;
    let signals = system::signals(&FORWARDED[..6])?;
    let hosts = session.first_hosts();
    let shares_host = session.endpoints().iter().any(|endpoint| endpoint.host);
    let privileged = identity::is_privileged();
    let plan = Plan {
        interfaces: session.endpoints().iter().filter(|e| e.port).cloned().collect(),
        name: session.name().to_owned(),
        hosts,
        resolv: inside::resolv_conf(&[]),
        maps: (!privileged).then(Caller::current),
        as_root: options.as_root,
        shares_host,
        command: options.command,
    };
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
    let inside = match system::fork_into(namespaces(privileged, shares_host)) {
        Ok(Fork::Child) => {
            session.hang_up();
            drop((ours, signals));
            inside::become_init(&plan, &theirs)
        }
        Ok(Fork::Parent(pid)) => pid,
        Err(error) => {
            session.part();
            return Err(RunError::Namespaces(error));
        }
    };
    drop(theirs);
    let mut running = Running {
        session,
        inside,
        control: ours,
        hosts: None,
        signals,
        retry_at: None,
        kill_at: None,
    };
    let outcome = running.connect(&plan.interfaces).and_then(|()| running.supervise(ready));
    running.end();
    running.session.part();
    outcome
}

/// The namespaces of a sandbox. A user namespace is what makes the others possible without
/// privilege; with privilege it would only take rights away.
fn namespaces(privileged: bool, shares_host: bool) -> libc::c_int {
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    if !privileged {
        flags |= libc::CLONE_NEWUSER;
    }
    if !shares_host {
        flags |= libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
    }
    flags
}

impl Running {
    /// Takes the TAPs that the inside makes, hands them to the appliance, lets the program start.
    fn connect(&mut self, interfaces: &[Assigned]) -> Result<(), RunError> {
        let mut taps = Vec::new();
        loop {
            let mut octets = [0; MAX_REPORT];
            let mut descriptors = Vec::new();
            let len = fdpass::receive(self.control.as_fd(), &mut octets, &mut descriptors)?;
            match octets[..len].first().copied() {
                Some(message::TAP) => taps.append(&mut descriptors),
                Some(message::HOSTS) => self.hosts = descriptors.pop().map(File::from),
                Some(message::READY) => break,
                Some(message::ERROR) => {
                    let text = String::from_utf8_lossy(&octets[1..len]).into_owned();
                    return Err(RunError::Inside(text));
                }
                _ => return Err(RunError::Inside("it ended before it was set up".to_owned())),
            }
        }
        for (interface, tap) in interfaces.iter().zip(taps) {
            let place = self.session.endpoints().iter().position(|e| e.id == interface.id);
            self.session.offer(place.unwrap_or_default(), tap)?;
        }
        self.session.running(self.inside.as_raw_nonzero().get().unsigned_abs())?;
        fdpass::send(self.control.as_fd(), &[message::GO], None)?;
        Ok(())
    }

    /// Waits until the program has ended; its exit code.
    fn supervise(&mut self, ready: impl FnOnce(&str)) -> Result<i32, RunError> {
        let mut ready = Some(ready);
        loop {
            let (control, signals, lifeline) = self.wait()?;
            if control {
                match self.report() {
                    Report::Started => {
                        if let Some(ready) = ready.take() {
                            ready(self.session.name());
                        }
                    }
                    Report::Unstarted(text) => {
                        return Err(RunError::Program { text, code: self.exit_code() });
                    }
                    Report::Ended(code) => return Ok(code),
                }
            }
            if signals {
                self.pass_signals_on();
            }
            if lifeline || self.session.has_message() {
                self.listen();
            }
            if self.retry_at.is_some_and(|at| at <= Instant::now()) {
                self.look_for_appliance();
            }
            if self.kill_at.take_if(|at| *at <= Instant::now()).is_some() {
                self.signal(libc::SIGKILL);
            }
        }
    }

    /// Waits until something happens: on the inside, to us, on the life line.
    fn wait(&self) -> io::Result<(bool, bool, bool)> {
        let mut watched = vec![
            PollFd::new(&self.control, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        let lifeline = self.session.lifeline();
        if let Some(lifeline) = &lifeline {
            watched.push(PollFd::new(lifeline, PollFlags::IN));
        }
        let next = [self.retry_at, self.kill_at].into_iter().flatten().min();
        let mut left = next.map(|at| at.saturating_duration_since(Instant::now()));
        if self.session.has_message() {
            left = Some(Duration::ZERO);
        }
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let told = |place: usize| watched.get(place).is_some_and(|fd| !fd.revents().is_empty());
        Ok((told(0), told(1), told(2)))
    }

    fn exit_code(&self) -> i32 {
        match self.report() {
            Report::Ended(code) => code,
            Report::Started | Report::Unstarted(_) => 1,
        }
    }

    /// What the inside has to say of the program.
    fn report(&self) -> Report {
        let mut octets = [0; MAX_REPORT];
        let mut none = Vec::new();
        let received = fdpass::receive(self.control.as_fd(), &mut octets, &mut none);
        match octets[..received.unwrap_or(0)].split_first() {
            Some((&message::STARTED, _)) => Report::Started,
            Some((&message::UNSTARTED, text)) => {
                Report::Unstarted(String::from_utf8_lossy(text).into_owned())
            }
            Some((&message::EXIT, code)) => {
                Report::Ended(code.first_chunk().map_or(1, |code| i32::from_ne_bytes(*code)))
            }
            // The inside was killed, and the program with it.
            _ => Report::Ended(128 + libc::SIGKILL),
        }
    }

    fn pass_signals_on(&mut self) {
        while let Ok(Some(signal)) = system::next_signal(&self.signals) {
            // What the terminal sends, it sends to the program as well.
            if signal.from_process {
                if signal.number == libc::SIGTERM && self.session.is_declared() {
                    self.ask_to_end();
                } else {
                    self.signal(signal.number);
                }
            }
        }
    }

    /// Ends the program of a session that does not outlive its appliance: asks it once, and kills
    /// it when it does not listen.
    fn ask_to_end(&mut self) {
        if self.kill_at.is_none() {
            self.signal(libc::SIGTERM);
            self.kill_at = Some(Instant::now() + GRACE);
        }
    }

    fn signal(&self, number: i32) {
        let signal = if number == libc::SIGKILL {
            Some(Signal::KILL)
        } else {
            Signal::from_named_raw(number)
        };
        if let Some(signal) = signal {
            // An inside that has ended is noticed by its control socket.
            let _ = kill_process(self.inside, signal);
        }
    }

    fn listen(&mut self) {
        match self.session.next_event() {
            Event::Hosts(text) => self.rewrite_hosts(&text),
            Event::Signal(number) => self.signal(number),
            Event::PortGone(place) => self.session.withdraw(place),
            Event::Connect(endpoint) => self.join(*endpoint),
            Event::Disconnect(endpoint) => self.leave(endpoint),
            Event::Lost => self.miss_appliance(),
        }
    }

    /// Looks for the next appliance soon, unless the program ends with the one that is lost.
    fn miss_appliance(&mut self) {
        if self.session.is_declared() {
            self.ask_to_end();
        } else {
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    /// Makes the interface of one more network in the running sandbox.
    fn join(&mut self, endpoint: Assigned) {
        let id = endpoint.id;
        let made = if endpoint.port {
            self.spaces().and_then(|spaces| spaces.make_tap(&endpoint)).map(Some)
        } else {
            Ok(None)
        };
        let told = match made {
            Ok(tap) => self.session.join(endpoint, tap),
            Err(error) => {
                let message = crate::cli::chain(&error);
                self.session.refuse(id, Failure { message, help: error.help() })
            }
        };
        self.expect(told);
    }

    /// Removes the interface of a network that the sandbox is no longer on. It would go by itself
    /// when the appliance lets go of it too, but the next one may want its name before.
    fn leave(&mut self, endpoint: Id) {
        let leaving = self.session.endpoints().iter().find(|own| own.id == endpoint && own.port);
        if let Some(leaving) = leaving {
            let removed = self.spaces().and_then(|spaces| spaces.remove(&leaving.ifname));
            if let Err(error) = removed {
                tracing::warn!(%error, interface = leaving.ifname, "cannot be removed");
            }
        }
        let told = self.session.leave(endpoint);
        self.expect(told);
    }

    fn spaces(&self) -> Result<Spaces, EnterError> {
        Spaces::of(self.inside.as_raw_nonzero().get().unsigned_abs())
    }

    /// Notices that the appliance was lost in the middle of a conversation.
    fn expect(&mut self, told: Result<(), SessionError>) {
        if let Err(error) = told {
            tracing::debug!(%error, "the appliance did not hear of it");
            self.miss_appliance();
        }
    }

    /// Rewrites the hosts file in place: it is mounted by its inode. One write, so that a reader
    /// sees the old text or the new one.
    fn rewrite_hosts(&self, text: &str) {
        if let Some(hosts) = &self.hosts {
            let written = hosts.write_all_at(text.as_bytes(), 0);
            if let Err(error) = written.and_then(|()| hosts.set_len(text.len() as u64)) {
                tracing::warn!(%error, "the hosts file cannot be rewritten");
            }
        }
    }

    fn look_for_appliance(&mut self) {
        self.retry_at = match self.session.retry() {
            Ok(true) => None,
            Ok(false) => Some(Instant::now() + RETRY),
            Err(error) => {
                tracing::debug!(%error, "the appliance does not take this sandbox back");
                Some(Instant::now() + PATIENCE)
            }
        };
    }

    /// Ends whatever is left of the inside and waits for it, so that nothing outlives this process.
    fn end(&self) {
        let _ = kill_process(self.inside, Signal::KILL);
        let _ = waitpid(Some(self.inside), WaitOptions::empty());
    }
}
