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
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::enter::{EnterError, Spaces};
use super::fdpass;
use super::identity::{self, Caller};
use super::inside::{self, FORWARDED, Plan, message};
use super::remedy;
use super::session::{Event, Session, SessionError};
use crate::api::client::Client;
use crate::api::shapes::{Assigned, AttachRequest, Failure};
use crate::cnm::Id;
use crate::sys::process::{self as system, Fork};

/// The longest message from the inside.
const MAX_REPORT: usize = 4096;
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
            Self::Session(error) => error.help(),
            Self::Program { .. } | Self::Supervise(_) => None,
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
        resolv: inside::resolv_conf(&name_servers(session.endpoints())),
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
    let mut running =
        Running { session, inside, control: ours, hosts: None, signals, kill_at: None };
    let outcome = running.connect(&plan.interfaces).and_then(|()| running.supervise(ready));
    running.end();
    running.session.part();
    outcome
}

/// Who answers questions about names: those of the first network that has any.
fn name_servers(endpoints: &[Assigned]) -> Vec<IpAddr> {
    let found = endpoints.iter().find(|endpoint| !endpoint.resolvers.is_empty());
    found.map(|endpoint| endpoint.resolvers.clone()).unwrap_or_default()
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
            let (control, signals) = self.wait()?;
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
            self.listen();
            if self.kill_at.take_if(|at| *at <= Instant::now()).is_some() {
                self.signal(libc::SIGKILL);
            }
        }
    }

    /// Waits until something happens: on the inside, to us, or something that the session sees.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut watched = vec![
            PollFd::new(&self.control, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        let lifeline = self.session.lifeline();
        if let Some(lifeline) = &lifeline {
            watched.push(PollFd::new(lifeline, PollFlags::IN));
        }
        let kill = self.kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        let left = self.session.patience().into_iter().chain(kill).min();
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let told = |place: usize| watched.get(place).is_some_and(|fd| !fd.revents().is_empty());
        Ok((told(0), told(1)))
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

    /// Sends the program a signal. The inside passes it on, as process 1 of a PID namespace gets
    /// no other signals than it asked for; SIGKILL ends it, and everything inside with it.
    fn signal(&self, number: i32) {
        // An inside that has ended is noticed by its control socket; one that is stopped and has
        // hundreds of signals to pass on needs no more.
        if number == libc::SIGKILL {
            let _ = kill_process(self.inside, Signal::KILL);
        } else {
            let octets = [&[message::SIGNAL], &number.to_ne_bytes()[..]].concat();
            let _ = send(&self.control, &octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    fn listen(&mut self) {
        match self.session.next_event() {
            Some(Event::Hosts(text)) => self.rewrite_hosts(&text),
            Some(Event::Signal(number)) => self.signal(number),
            Some(Event::PortGone(place)) => self.session.withdraw(place),
            Some(Event::Connect(endpoint)) => self.join(*endpoint),
            Some(Event::Disconnect(endpoint)) => self.leave(endpoint),
            Some(Event::Lost) | None => {}
        }
        if self.session.is_declared() && self.session.is_lost() {
            self.ask_to_end();
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
        match made {
            Ok(tap) => self.session.join(endpoint, tap),
            Err(error) => {
                let message = crate::cli::chain(&error);
                self.session.refuse(id, Failure { message, help: error.help() });
            }
        }
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
        self.session.leave(endpoint);
    }

    fn spaces(&self) -> Result<Spaces, EnterError> {
        Spaces::of(self.inside.as_raw_nonzero().get().unsigned_abs())
    }

    fn rewrite_hosts(&self, text: &str) {
        if let Some(hosts) = &self.hosts
            && let Err(error) = rewrite(hosts, text)
        {
            tracing::warn!(%error, "the hosts file cannot be rewritten");
        }
    }

    /// Ends whatever is left of the inside and waits for it, so that nothing outlives this process.
    fn end(&self) {
        let _ = kill_process(self.inside, Signal::KILL);
        let _ = waitpid(Some(self.inside), WaitOptions::empty());
    }
}

/// Rewrites a hosts file in place: it is mounted by its inode.
///
/// A shorter text is written with empty lines behind it, which are cut off afterwards, so that no
/// reader sees the end of the old text behind the new one. Who reads at that very moment may still
/// see the old text up to the end of a page and the new one from there.
fn rewrite(hosts: &File, text: &str) -> io::Result<()> {
    let former = usize::try_from(hosts.metadata()?.len()).unwrap_or(usize::MAX);
    let mut octets = text.as_bytes().to_vec();
    octets.resize(octets.len().max(former), b'\n');
    hosts.write_all_at(&octets, 0)?;
    hosts.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_holds_the_newest_text_and_nothing_else() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("weft-hosts-{}", std::process::id()));
        let hosts = File::options().create(true).truncate(true).write(true).open(&path).unwrap();
        for text in ["10.0.0.1\tann\n", "10.0.0.1\tann\n10.0.0.2\tbob\n", "::1\tme\n", ""] {
            rewrite(&hosts, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(path).unwrap();
    }
}
