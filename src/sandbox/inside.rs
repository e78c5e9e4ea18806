//! The inside of a sandbox: its first process, from new namespaces to the program's end.
//!
//! [`become_init`] runs in a process that was forked into new namespaces. It maps the caller, makes
//! and sets up the TAPs, hands their descriptors out, mounts its own `hosts` and `resolv.conf`,
//! waits for the word that frames pass, and then is what `init` is: it starts the program, passes
//! signals on, reaps whatever is orphaned, and ends when the program does. As it is process 1 of a
//! PID namespace, its end is the end of everything the program left behind.
//!
//! The two files live in a tmpfs that no path leads to once they are mounted over the real ones, so
//! nothing of a sandbox is ever left on disk.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, waitpid};

use super::fdpass;
use super::identity::{self, Caller};
use super::link::Links;
use crate::api::shapes::Assigned;
use crate::sys::{self, process::Fork};

/// Signals that are passed on to the program.
pub const FORWARDED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// Where the tmpfs is mounted for the moment that it takes to fill it. Every system has this
/// folder, and the sandbox's own `proc` covers it afterwards.
const MOMENT: &str = "/proc";

/// What the inside is made from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The interfaces to make.
    pub interfaces: Vec<Assigned>,
    /// The sandbox's name, which becomes its host name.
    pub name: String,
    /// The text of its hosts file at the start.
    pub hosts: String,
    /// The text of its resolv.conf.
    pub resolv: String,
    /// Who to map into the new user namespace; none when there is no new one.
    pub maps: Option<Caller>,
    /// Whether the program sees itself as root.
    pub as_root: bool,
    /// Whether it stays in the host's network stack, with the host's name and files.
    pub shares_host: bool,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

/// What went wrong on the inside, and where.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct InsideError {
    what: String,
    #[source]
    source: io::Error,
}

/// Messages between the inside and the supervisor, by their first octet.
pub mod message {
    /// A TAP's descriptor travels along; in the order of the plan.
    pub const TAP: u8 = b'T';
    /// The hosts file's descriptor travels along.
    pub const HOSTS: u8 = b'H';
    /// The inside is set up and waits for [`GO`].
    pub const READY: u8 = b'R';
    /// An error, as text.
    pub const ERROR: u8 = b'E';
    /// From the supervisor: frames pass, start the program.
    pub const GO: u8 = b'G';
    /// From the supervisor: a signal for the program; its number follows, as four octets.
    pub const SIGNAL: u8 = b'K';
    /// The program runs.
    pub const STARTED: u8 = b'S';
    /// The program could not be started; why, as text.
    pub const UNSTARTED: u8 = b'U';
    /// The program ended; its exit code follows.
    pub const EXIT: u8 = b'X';
}

/// Runs the inside to its end. Called in the child of a fork, which never returns.
pub fn become_init(plan: &Plan, control: &OwnedFd) -> ! {
    let code = match set_up(plan, control.as_fd()).and_then(|()| wait_for_go(control.as_fd())) {
        Ok(true) => run(plan, control.as_fd()),
        Ok(false) => 0,
        Err(error) => {
            let mut text = vec![message::ERROR];
            text.extend_from_slice(error.to_string().as_bytes());
            // The supervisor may be gone; then nobody is left to tell.
            let _ = fdpass::send(control.as_fd(), &text, None);
            1
        }
    };
    sys::process::exit_now(code)
}

fn set_up(plan: &Plan, control: BorrowedFd<'_>) -> Result<(), InsideError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| during("asking to end with weft", errno))?;
    if let Some(caller) = plan.maps {
        // To a program with file capabilities, its own maps in /proc do not belong.
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
        caller.map(plan.as_root).map_err(|error| during("mapping the user", error))?;
    }
    if plan.shares_host {
        privatise_mounts()?;
    } else {
        set_up_stack(plan, control)?;
    }
    mount_proc();
    fdpass::send(control, &[message::READY], None)
        .map_err(|error| during("reporting to weft", error))?;
    Ok(())
}

fn set_up_stack(plan: &Plan, control: BorrowedFd<'_>) -> Result<(), InsideError> {
    let mut links = Links::open().map_err(|error| during("opening netlink", error))?;
    links
        .index("lo")
        .and_then(|loopback| links.up(loopback))
        .map_err(|error| during("bringing lo up", error))?;
    allow_what_a_stack_of_ones_own_allows();
    for interface in &plan.interfaces {
        let tap = make_tap(&mut links, interface)?;
        fdpass::send(control, &[message::TAP], Some(tap.as_fd()))
            .map_err(|error| during("handing out a TAP", error))?;
    }
    let hosts = mount_files(plan)?;
    fdpass::send(control, &[message::HOSTS], Some(hosts.as_fd()))
        .map_err(|error| during("handing out the hosts file", error))?;
    rustix::system::sethostname(plan.name.as_bytes())
        .map_err(|errno| during("setting the host name", errno))
}

/// Makes the TAP of one endpoint in this thread's namespace and sets it up.
///
/// # Errors
/// Which step the kernel refused.
pub fn make_tap(links: &mut Links, interface: &Assigned) -> Result<OwnedFd, InsideError> {
    let name = &interface.ifname;
    let tap = sys::tap::open(name)
        .map_err(|error| during(&format!("making the TAP {name} (/dev/net/tun)"), error))?;
    configure(links, name, interface)?;
    Ok(tap)
}

/// Sets up the interface `name` of this thread's namespace as its endpoint wants it.
///
/// # Errors
/// Which step the kernel refused.
pub fn configure(links: &mut Links, name: &str, interface: &Assigned) -> Result<(), InsideError> {
    let step = |what: &str, result: io::Result<()>| {
        result.map_err(|error| during(&format!("{what} of {name}"), error))
    };
    let index = links.index(name).map_err(|error| during(&format!("finding {name}"), error))?;
    step("setting MAC and MTU", links.set_station(index, interface.mac(), interface.mtu))?;
    if !interface.addresses.iter().any(|address| address.ip().is_ipv6()) {
        // As Docker does: no IPv6 chatter on networks that have no IPv6 addresses. A kernel without
        // IPv6 has no such file.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    }
    for address in &interface.addresses {
        step(&format!("adding the address {address}"), links.add_address(index, *address))?;
    }
    step("bringing up", links.up(index))?;
    for router in &interface.routers {
        // Another network's may be there already, and stays.
        step(&format!("adding the route to {router}"), links.add_default_route(index, *router))?;
    }
    Ok(())
}

/// Removes the interface `name` of this thread's namespace; one that is not there is removed.
///
/// # Errors
/// What the kernel has against it.
pub fn remove(links: &mut Links, name: &str) -> Result<(), InsideError> {
    match links.index(name).and_then(|index| links.remove(index)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        removed => removed.map_err(|error| during(&format!("removing {name}"), error)),
    }
}

/// Lets a sandbox's programs bind any port and ping: the stack is theirs alone.
///
/// Where the kernel does not let us, programs are told by their own errors.
fn allow_what_a_stack_of_ones_own_allows() {
    let group = rustix::process::getegid().as_raw();
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", format!("{group} {group}"));
}

/// Mounts the sandbox's own hosts and resolv.conf; returns the hosts file, to be rewritten when
/// neighbours come and go.
fn mount_files(plan: &Plan) -> Result<File, InsideError> {
    privatise_mounts()?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", MOMENT, "tmpfs", flags, Some(c"mode=0755,size=4m"))
        .map_err(|errno| during("mounting a tmpfs", errno))?;
    let filled = fill_and_bind(plan);
    unmount(MOMENT, UnmountFlags::DETACH).map_err(|errno| during("unmounting", errno))?;
    filled
}

/// Keeps what is mounted here from showing outside.
fn privatise_mounts() -> Result<(), InsideError> {
    let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", propagation).map_err(|errno| during("making mounts private", errno))
}

fn fill_and_bind(plan: &Plan) -> Result<File, InsideError> {
    let moment = Path::new(MOMENT);
    let files = [("hosts", &plan.hosts), ("resolv.conf", &plan.resolv)];
    for (name, text) in files {
        let source = moment.join(name);
        fs::write(&source, text).map_err(|error| during(&format!("writing {name}"), error))?;
        let target = Path::new("/etc").join(name);
        if target.exists() {
            mount_bind(&source, &target)
                .map_err(|errno| during(&format!("mounting {}", target.display()), errno))?;
        }
    }
    File::options()
        .write(true)
        .open(moment.join("hosts"))
        .map_err(|error| during("opening the hosts file", error))
}

/// Gives the sandbox a `/proc` of its own PID namespace. Inside a container the kernel may refuse;
/// then `/proc` goes on showing the outer processes, and all else works.
fn mount_proc() {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let _ = mount("proc", "/proc", "proc", flags, None);
}

/// Waits until frames pass; false when the supervisor went away instead.
fn wait_for_go(control: BorrowedFd<'_>) -> Result<bool, InsideError> {
    let mut octet = [0];
    let received = rustix::io::retry_on_intr(|| rustix::io::read(control, &mut octet))
        .map_err(|errno| during("waiting for weft", errno))?;
    Ok(received == 1 && octet[0] == message::GO)
}

/// Starts the program and stays until it ends; its exit code.
fn run(plan: &Plan, control: BorrowedFd<'_>) -> i32 {
    let mut watched = FORWARDED.to_vec();
    watched.push(libc::SIGCHLD);
    let Ok(signals) = sys::process::signals(&watched) else { return 1 };
    let started = start(&plan.command, plan.maps.is_some() && !plan.as_root);
    let (report, code) = match &started {
        Ok(_) => (vec![message::STARTED], 0),
        Err(refused) => ([&[message::UNSTARTED], refused.text.as_bytes()].concat(), refused.code),
    };
    // A supervisor that is gone does not want to know, here and below.
    let _ = fdpass::send(control, &report, None);
    let code = match started {
        Ok(program) => attend(program, &signals, control),
        Err(_) => code,
    };
    let _ = fdpass::send(control, &[&[message::EXIT], &code.to_ne_bytes()[..]].concat(), None);
    code
}

/// Why a program was not started, and the exit code that says so in a shell.
#[derive(Debug)]
pub struct Unstarted {
    /// What to print.
    pub text: String,
    /// 127 when there is no such program, 126 when it cannot be run.
    pub code: i32,
}

/// Starts a program in a process of its own; returns once it runs.
///
/// # Errors
/// What stands in the way.
pub fn start(command: &[OsString], keep_capabilities: bool) -> Result<Pid, Unstarted> {
    let failed = |error: io::Error| Unstarted {
        text: format!("no process can be started: {}", plain(&error)),
        code: 126,
    };
    // The pipe closes by itself when the program takes over.
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    match sys::process::fork_into(0).map_err(failed)? {
        Fork::Child => {
            drop(reader);
            let refused = execute(command, keep_capabilities);
            let code = u8::try_from(refused.code).unwrap_or(1);
            // Without a reader there is nobody to tell.
            let _ = File::from(writer).write_all(&[&[code], refused.text.as_bytes()].concat());
            sys::process::exit_now(refused.code)
        }
        Fork::Parent(pid) => {
            drop(writer);
            let mut refused = Vec::new();
            let read = File::from(reader).read_to_end(&mut refused);
            match refused.split_first() {
                Some((code, text)) if read.is_ok() => Err(Unstarted {
                    text: String::from_utf8_lossy(text).into_owned(),
                    code: i32::from(*code),
                }),
                _ => Ok(pid),
            }
        }
    }
}

/// Becomes the program; returns only when that cannot be.
fn execute(command: &[OsString], keep_capabilities: bool) -> Unstarted {
    // A program whose parent was killed would be nobody's.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if keep_capabilities && let Err(errno) = identity::keep_network_capabilities() {
        eprintln!("weft: the program runs without network capabilities: {errno}");
    }
    sys::process::unblock_all_signals();
    let Some((program, arguments)) = command.split_first() else {
        return Unstarted { text: "no program was named".to_owned(), code: 126 };
    };
    let error = Command::new(program).args(arguments).exec();
    let name = program.display();
    if error.kind() == io::ErrorKind::NotFound || !is_anywhere(program) {
        Unstarted { text: format!("cannot run {name}: no such program"), code: 127 }
    } else {
        Unstarted { text: format!("cannot run {name}: {}", plain(&error)), code: 126 }
    }
}

/// Whether the program exists at its path or in a folder of `PATH`. The kernel says "permission
/// denied" as soon as one of those folders is closed to the caller.
fn is_anywhere(program: &OsStr) -> bool {
    if program.as_encoded_bytes().contains(&b'/') {
        return Path::new(program).exists();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).exists())
}

/// Reaps and forwards until `program` has ended.
fn attend(program: Pid, signals: &OwnedFd, control: BorrowedFd<'_>) -> i32 {
    let mut supervised = true;
    loop {
        let mut ready = vec![PollFd::new(signals, PollFlags::IN)];
        if supervised {
            ready.push(PollFd::from_borrowed_fd(control, PollFlags::IN));
        }
        // An interrupted poll is followed by a look at what there is, like any other.
        let _ = poll(&mut ready, None);
        let told = ready.get(1).is_some_and(|control| !control.revents().is_empty());
        // A program that has ended needs no signal, here and below.
        if told {
            match told_signal(control) {
                Some(number) => {
                    let _ = sys::process::send_signal(program, number);
                }
                // The kernel ends this process with its supervisor.
                None => supervised = false,
            }
        }
        while let Ok(Some(signal)) = sys::process::next_signal(signals) {
            if signal.number != libc::SIGCHLD && signal.from_process {
                let _ = sys::process::send_signal(program, signal.number);
            }
        }
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
            if pid == program {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return status.exit_status().or(signal).unwrap_or(1);
            }
        }
    }
}

/// The signal that the supervisor has for the program; nothing when the supervisor is gone.
fn told_signal(control: BorrowedFd<'_>) -> Option<i32> {
    let mut octets = [0; 5];
    match rustix::io::retry_on_intr(|| rustix::io::read(control, &mut octets)) {
        Ok(5) if octets[0] == message::SIGNAL => {
            octets[1..].first_chunk().map(|number| i32::from_ne_bytes(*number))
        }
        Ok(_) | Err(_) => None,
    }
}

/// The text of an error without the number that Rust appends.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The resolv.conf of a sandbox whose networks have no DNS server.
pub fn resolv_conf(servers: &[IpAddr]) -> String {
    let mut text = String::from("# Written by weft for this sandbox.\n");
    if servers.is_empty() {
        text.push_str(
            "# Its networks have no DNS server; names of neighbours are in /etc/hosts.\n",
        );
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

fn during(what: &str, source: impl Into<io::Error>) -> InsideError {
    InsideError { what: what.to_owned(), source: source.into() }
}

impl InsideError {
    /// The error's kind, to find the remedy by.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}
