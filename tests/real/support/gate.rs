//! Whether real tests may run here, and what they change on the machine while they do.
//!
//! Without root they are passed over, loudly; with `WEFT_TEST_REQUIRE` set that is a failure, so
//! that CI never passes over anything.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{
    Mutex, MutexGuard, Once, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// The programs that tests talk to or through; `scripts/test` installs them.
const TOOLS: [&str; 14] = [
    "ip",
    "ping",
    "ps",
    "socat",
    "python3",
    "nc",
    "iperf3",
    "ethtool",
    "tcpdump",
    "unshare",
    "setsid",
    "useradd",
    "bash",
    "qemu-system-x86_64",
];
/// Where they are looked for. Not the caller's own `PATH`: an ordinary user may not read all of it.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TUN: &str = "/dev/net/tun";

/// Most tests run beside each other; one that closes something for everybody runs alone.
static MACHINE: RwLock<()> = RwLock::new(());

/// The right to be the only test that runs, or one of several.
#[derive(Debug)]
#[expect(dead_code, reason = "held for its drop")]
pub enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    /// Waits for one's turn.
    pub fn wait(alone: bool) -> Self {
        // A test that failed has left the machine as it was: its guards saw to that.
        if alone {
            Self::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
        } else {
            Self::Shared(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

/// Whether to go on with a test.
///
/// # Panics
/// When everything is required and something is missing.
pub fn is_open() -> bool {
    static SAID: Once = Once::new();
    let Some(obstacle) = obstacle() else { return true };
    let required = std::env::var_os("WEFT_TEST_REQUIRE").is_some();
    assert!(!required, "real tests are required here, and {obstacle}");
    SAID.call_once(|| {
        // Not `eprintln!`, which is kept back when a test passes.
        let line = format!("\nREAL TESTS SKIPPED: {obstacle}. `scripts/test real` runs them.\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    });
    false
}

fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    let found = OBSTACLE.get_or_init(|| {
        if !rustix::process::geteuid().is_root() {
            return Some("they need root".to_owned());
        }
        if !Path::new(TUN).exists() {
            return Some(format!("there is no {TUN}"));
        }
        let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !is_there(tool)).collect();
        (!missing.is_empty()).then(|| format!("these are missing: {}", missing.join(", ")))
    });
    found.as_deref()
}

/// Whether a program is there that only some tests need.
///
/// # Panics
/// When everything is required and it is missing.
pub fn has(tool: &str) -> bool {
    found(tool, is_there(tool))
}

/// Whether a module of Python's is there that only some tests need.
///
/// # Panics
/// When everything is required and it is missing.
pub fn has_python_module(module: &str) -> bool {
    let line = format!("import {module}");
    let imported = Command::new("python3").env("PATH", PATH).args(["-c", &line]).output();
    found(module, imported.is_ok_and(|imported| imported.status.success()))
}

fn found(what: &str, is_there: bool) -> bool {
    if !is_there {
        let required = std::env::var_os("WEFT_TEST_REQUIRE").is_some();
        assert!(!required, "real tests are required here, and {what} is missing");
        let line =
            format!("\nA REAL TEST SKIPPED: {what} is missing. `scripts/test real` gets it.\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    is_there
}

fn is_there(tool: &str) -> bool {
    PATH.split(':').any(|folder| Path::new(folder).join(tool).exists())
}

/// `/dev/net/tun` open to everybody, as distributions have it, for as long as somebody holds this.
#[derive(Debug)]
pub struct OpenTun;

/// How many hold it, and the mode it had before.
static TUN_HOLDERS: Mutex<(usize, u32)> = Mutex::new((0, 0));

impl OpenTun {
    /// Opens it.
    pub fn hold() -> Self {
        let mut holders = locked(&TUN_HOLDERS);
        if holders.0 == 0 {
            holders.1 = fs::metadata(TUN).unwrap().permissions().mode();
            set_mode(0o666);
        }
        holders.0 += 1;
        Self
    }
}

impl Drop for OpenTun {
    fn drop(&mut self) {
        let mut holders = locked(&TUN_HOLDERS);
        holders.0 -= 1;
        if holders.0 == 0 {
            set_mode(holders.1);
        }
    }
}

/// `/dev/net/tun` closed to ordinary users. For a test that runs alone.
#[derive(Debug)]
pub struct ClosedTun;

impl ClosedTun {
    /// Closes it.
    pub fn hold() -> Self {
        set_mode(0o600);
        Self
    }
}

impl Drop for ClosedTun {
    fn drop(&mut self) {
        set_mode(0o666);
    }
}

fn set_mode(mode: u32) {
    let _ = fs::set_permissions(TUN, fs::Permissions::from_mode(mode & 0o777));
}

/// The content of a mutex whatever became of those who had it before.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
