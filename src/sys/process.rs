//! Processes and signals: what becomes of the thread that asks.
//!
//! Source: Linux `clone(2)`, `signalfd(2)`, `wait(2)`, `pid_namespaces(7)`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Which side of a [`fork_into`] goes on.
#[derive(Debug)]
pub enum Fork {
    /// The caller; the child has this process id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// A signal as a [`signals`] descriptor delivers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// Whether a process sent it, rather than the terminal or the kernel.
    pub from_process: bool,
}

/// Starts a process that goes on from here, in the new namespaces that `namespaces` names
/// (`CLONE_NEW…`), as a copy of the caller.
///
/// # Errors
/// `EPERM` or `ENOSPC` where the namespaces are not allowed; `EDEADLK` when the caller has a second
/// thread: it would not exist in the child, with the locks it holds there held for ever.
pub fn fork_into(namespaces: libc::c_int) -> io::Result<Fork> {
    // In a sandbox's mount namespace `/proc` knows only the sandbox's processes, and not this one.
    if std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: without CLONE_VM and with a null stack this is `fork`: the child runs on a copy of
    // this thread's stack. No other thread exists whose state the copy could have torn.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, libc::c_long::from(namespaces | libc::SIGCHLD), 0, 0, 0, 0)
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        None => Ok(Fork::Child),
        Some(pid) => Ok(Fork::Parent(pid)),
    }
}

/// Ends the process at once, without running what the parent registered to run at its end.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` does not return and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// Blocks the signals `numbers` for this thread and returns a descriptor that delivers them.
///
/// # Errors
/// As `signalfd`.
pub fn signals(numbers: &[i32]) -> io::Result<OwnedFd> {
    let set = signal_set(numbers);
    // SAFETY: both calls read `set`, which is initialised and outlives them; the descriptor that
    // `signalfd` returns is new and owned by nobody else.
    unsafe {
        let refused = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        if refused != 0 {
            return Err(io::Error::from_raw_os_error(refused));
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Takes one signal from a [`signals`] descriptor; `None` when there is none.
///
/// # Errors
/// As `read`.
pub fn next_signal(fd: &OwnedFd) -> io::Result<Option<Signal>> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut octets = [0u8; SIZE];
    match rustix::io::read(fd, &mut octets) {
        Ok(SIZE) => {}
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    // SAFETY: the kernel filled all of `octets` with one `signalfd_siginfo`, which is plain
    // integers, so that any bits are a valid value; the read is unaligned on purpose.
    let info: libc::signalfd_siginfo = unsafe { std::ptr::read_unaligned(octets.as_ptr().cast()) };
    Ok(Some(Signal { number: info.ssi_signo as i32, from_process: info.ssi_code <= 0 }))
}

/// Sends a signal by its number, which may be a real-time signal's.
///
/// # Errors
/// As `kill`: `EINVAL` for a number that is no signal's, `ESRCH` when the process is gone.
pub fn send_signal(process: Pid, number: i32) -> io::Result<()> {
    // SAFETY: `kill` touches no memory of ours; the process id is positive, and so one process's.
    let answer = unsafe { libc::kill(process.as_raw_nonzero().get(), number) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets every signal through again, as a program that is about to start expects.
pub fn unblock_all_signals() {
    let set = signal_set(&[]);
    // SAFETY: reads `set`, which is initialised and outlives the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// Asks the scheduler to let a thread of this process work in long stretches, or no longer to: what
/// it wakes does not interrupt it, and waking it does not interrupt who runs (SCHED_BATCH).
///
/// # Errors
/// `EPERM` where a sandbox around us forbids it, `ESRCH` when the thread has ended.
pub fn prefer_throughput(thread: Pid, wanted: bool) -> io::Result<()> {
    let policy = if wanted { libc::SCHED_BATCH } else { libc::SCHED_OTHER };
    let thread = thread.as_raw_nonzero().get();
    // SAFETY: `sched_param` is one integer, for which zero is a value.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: reads `parameters`, which outlives the call.
    let answer = unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn signal_set(numbers: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set before `sigaddset` changes it; a number that is no
    // signal is refused without an effect.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for number in numbers {
            libc::sigaddset(set.as_mut_ptr(), *number);
        }
        set.assume_init()
    }
}
