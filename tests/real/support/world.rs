//! A world for one test: a folder, a socket's path, who it runs as; and the check that nothing of
//! it is left.
//!
//! Everything that a test starts carries the socket's path in its environment, and programs inherit
//! it, so whatever a test leaves running is found in `/proc`, also when it has a new parent.

use std::cell::RefCell;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::gate::{self, OpenTun, PATH, Turn, locked};
use super::wait::until;

/// How long the last of a test may take to go.
const GRACE: Duration = Duration::from_secs(10);
/// What the names of everything that a test makes begin with.
pub const PREFIX: &str = "weftt-";
/// What the names of users made for tests begin with.
const USER_PREFIX: &str = "weft-test-";

/// Who a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The administrator.
    Root,
    /// A user without any rights, made for the test.
    Ordinary,
}

/// All that belongs to one test.
#[derive(Debug)]
pub struct World {
    /// Who the test is.
    pub who: Who,
    /// Short, and no other test has it.
    pub tag: String,
    folder: PathBuf,
    user: Option<User>,
    weft: Arc<Installed>,
    /// The namespace that stands for the host, and the resolv.conf there.
    host: RefCell<Option<(String, PathBuf)>>,
    /// Namespaces that were made, to see that they are gone.
    pub(super) namespaces: RefCell<Vec<String>>,
    _tun: OpenTun,
    _turn: Turn,
}

impl World {
    /// Runs a test beside others.
    pub fn run(who: Who, test: fn(&World)) {
        if gate::is_open() {
            test(&Self::new(who, false));
        }
    }

    /// Runs a test while no other one runs.
    pub fn run_alone(who: Who, test: fn(&World)) {
        if gate::is_open() {
            test(&Self::new(who, true));
        }
    }

    fn new(who: Who, alone: bool) -> Self {
        static SWEPT: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let turn = Turn::wait(alone);
        SWEPT.call_once(sweep);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(format!("{PREFIX}{tag}"));
        DirBuilder::new().mode(0o755).create(&folder).unwrap();
        let user = (who == Who::Ordinary).then(|| User::make(&tag));
        if let Some(user) = &user {
            chown(&folder, Some(user.user), Some(user.group)).unwrap();
        }
        Self {
            who,
            tag,
            folder,
            user,
            weft: Installed::get(),
            host: RefCell::default(),
            namespaces: RefCell::default(),
            _tun: OpenTun::hold(),
            _turn: turn,
        }
    }

    /// Where the appliance of this test listens. The folder is made by weft.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run/weft.sock")
    }

    /// Where its state is unless somebody says otherwise.
    pub fn state(&self) -> PathBuf {
        self.folder.join("run/weft.sock.state")
    }

    /// A path for something that the test itself makes.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file that the test's user can read and change.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        self.give(&path);
        path
    }

    /// Makes a file or a folder, or a link itself, the test's user's.
    pub fn give(&self, path: &Path) {
        if let Some(user) = &self.user {
            lchown(path, Some(user.user), Some(user.group)).unwrap();
        }
    }

    /// The user and group that the test is.
    pub fn ids(&self) -> (u32, u32) {
        self.user.as_ref().map_or((0, 0), |user| (user.user, user.group))
    }

    /// Takes a namespace for the host: everything that is started from now on runs there, and
    /// finds `resolv` in `/etc/resolv.conf`.
    pub fn live_in(&self, namespace: &str, resolv: &str) {
        let resolv = self.write("resolv.conf", resolv);
        *self.host.borrow_mut() = Some((namespace.to_owned(), resolv));
    }

    /// A program, as the test's user, in an environment that does not depend on the caller's.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let host = self.host.borrow();
        let mut command = match &*host {
            None => Command::new(program.as_ref()),
            Some((namespace, resolv)) => {
                let (user, group) = self.ids();
                let script = format!(
                    "mount --bind {} /etc/resolv.conf && exec setpriv --reuid={user} \
                     --regid={group} --clear-groups \"$@\"",
                    resolv.display()
                );
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--net=/run/netns/{namespace}"))
                    .args(["unshare", "--mount", "sh", "-c", &script, "sh"])
                    .arg(program.as_ref());
                command
            }
        };
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.folder)
            .env("LC_ALL", "C.UTF-8")
            .env("WEFT_SOCKET", self.socket())
            .current_dir(&self.folder);
        if let Ok(level) = std::env::var("WEFT_LOG") {
            command.env("WEFT_LOG", level);
        }
        if let Some(user) = self.user.as_ref().filter(|_| host.is_none()) {
            command.uid(user.user).gid(user.group);
        }
        command
    }

    /// weft with arguments as one would type them; single quotes keep blanks together.
    pub fn weft_command(&self, line: &str) -> Command {
        let mut command = self.command(&self.weft.path);
        command.args(words(line));
        command
    }

    /// weft's program.
    pub fn binary(&self) -> &Path {
        &self.weft.path
    }

    /// The processes of this test that run now.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("WEFT_SOCKET={}\0", self.socket().display());
        let entries = fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let marked = environment.windows(mark.len()).any(|window| window == mark.as_bytes());
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (marked && !line.is_empty()).then_some((pid, line))
        })
        .collect()
    }

    /// What is still there that should not be; empty when all is well.
    fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .processes()
            .into_iter()
            .map(|(pid, line)| format!("process {pid}: {line}"))
            .collect();
        if let Ok(entries) = fs::read_dir(self.folder.join("run")) {
            // The state is there to stay.
            let paths = entries.flatten().map(|entry| entry.path()).filter(|p| *p != self.state());
            left.extend(paths.map(|path| format!("file {}", path.display())));
        }
        for name in self.namespaces.borrow().iter() {
            if Path::new("/run/netns").join(name).exists() {
                left.push(format!("namespace {name}"));
            }
        }
        for name in interfaces() {
            // A TAP on its way into a namespace has such a name for a moment.
            if name.starts_with("weft") && (!name.starts_with(PREFIX) || name == self.ifname()) {
                left.push(format!("interface {name}"));
            }
        }
        left
    }

    /// A name for an interface in the machine's own namespace.
    pub fn ifname(&self) -> String {
        let short: String = self.tag.chars().rev().take(15 - PREFIX.len()).collect();
        format!("{PREFIX}{}", short.chars().rev().collect::<String>())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let gone = until(GRACE, || self.leftovers().is_empty().then_some(()));
        let left = self.leftovers();
        for (pid, _) in self.processes() {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = until(GRACE, || self.processes().is_empty().then_some(()));
        let _ = fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            assert!(gone.is_some(), "something is left: {left:#?}");
        }
    }
}

/// The interfaces of the machine's own namespace.
pub fn interfaces() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net").unwrap();
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Splits a line into words; single quotes keep blanks together.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (place, part) in line.split('\'').enumerate() {
        if place % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// A user made for one test.
#[derive(Debug)]
struct User {
    name: String,
    user: u32,
    group: u32,
}

/// `useradd` and `userdel` lock the files they change, and give up when they find them locked.
static USERS: Mutex<()> = Mutex::new(());

impl User {
    fn make(tag: &str) -> Self {
        let name = format!("{USER_PREFIX}{tag}");
        let _one_at_a_time = locked(&USERS);
        let made = Command::new("useradd")
            .args(["--system", "--user-group", "--no-create-home", "--shell", "/bin/sh", &name])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        let fields: Vec<&str> = line.split(':').collect();
        Self { name, user: fields[2].parse().unwrap(), group: fields[3].parse().unwrap() }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _one_at_a_time = locked(&USERS);
        let _ = Command::new("userdel").arg(&self.name).output();
    }
}

/// weft's program where every user can run it: the build folder may be somebody's own.
#[derive(Debug)]
struct Installed {
    folder: PathBuf,
    path: PathBuf,
}

impl Installed {
    /// The copy that other tests use at this moment, or a new one.
    fn get() -> Arc<Self> {
        static CURRENT: Mutex<Weak<Installed>> = Mutex::new(Weak::new());
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut current = locked(&CURRENT);
        if let Some(installed) = current.upgrade() {
            return installed;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-bin{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o755).create(&folder).unwrap();
        let path = folder.join("weft");
        let built = std::env::var_os("WEFT_TEST_BINARY")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_weft")), PathBuf::from);
        fs::copy(built, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let installed = Arc::new(Self { folder, path });
        *current = Arc::downgrade(&installed);
        installed
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes what test runs left that were killed: everything named after a process that is no more.
fn sweep() {
    let dead = |name: &str, prefix: &str| {
        let rest = name.strip_prefix(prefix)?;
        let pid = rest.split('-').next()?.parse::<u32>().ok()?;
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    };
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        if dead(&entry.file_name().to_string_lossy(), PREFIX).is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if dead(&name, PREFIX).is_some() {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    for name in passwd.lines().filter_map(|line| line.split(':').next()) {
        if dead(name, USER_PREFIX).is_some() {
            let _ = Command::new("userdel").arg(name).output();
        }
    }
}
