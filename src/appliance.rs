//! An appliance from start to end: one per socket, which it locks, serves, and removes.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::server;
use crate::cnm::Declared;
use crate::control::durable::StateError;
use crate::control::{Control, OpenError, Settings};
use crate::socket_path::{self, Occupied, SocketPath};
use crate::store::{self, Embedded, Memory, Store};

/// How long an appliance that was started on demand stays without a sandbox.
const IDLE: Duration = Duration::from_secs(3);
/// How long sandboxes of the appliance before this one may take to come back. They look for it ten
/// times a second.
const AWAIT: Duration = Duration::from_secs(10);
/// How often the tables are tended.
const TICK: Duration = Duration::from_millis(500);

/// Why an appliance did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplianceError {
    /// Another appliance has the socket.
    #[error("an appliance is already running at {} (process {})", .0.display(), .1)]
    Busy(PathBuf, String),
    /// The socket's folder cannot be used.
    #[error("the folder {} cannot be used for the socket", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The socket cannot be made.
    #[error("the socket {} cannot be made", .0.display())]
    Socket(PathBuf, #[source] io::Error),
    /// What is where the lock belongs is something else.
    #[error("{} is no lock of an appliance's, and stays", .0.display())]
    Lock(PathBuf),
    /// What the file declares cannot be brought about.
    #[error("{message}")]
    Declared {
        /// What and why.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// What exists cannot be kept.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// What was kept cannot be taken up.
    #[error("the state in {} cannot be taken up", .0.display())]
    State(PathBuf, #[source] StateError),
    /// The process cannot be set up.
    #[error("the appliance cannot start")]
    Start(#[from] io::Error),
}

impl ApplianceError {
    fn open(state: Option<&Path>, error: OpenError) -> Self {
        match error {
            OpenError::Start(error) => Self::Start(error),
            OpenError::State(error) => {
                Self::State(state.unwrap_or(Path::new("memory")).to_owned(), error)
            }
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Busy(..) => {
                Some("end it with `weft down`, or choose another with --socket".to_owned())
            }
            Self::Folder(..) | Self::Socket(..) | Self::Lock(_) => {
                Some("choose another place with --socket or WEFT_SOCKET".to_owned())
            }
            Self::Declared { help, .. } => {
                let without = "`weft up` without the file starts with what was kept";
                Some(match help {
                    Some(help) => format!("{help}; {without}"),
                    None => without.to_owned(),
                })
            }
            Self::Store(error) => error.help(),
            Self::State(_, error) => error.help(),
            Self::Start(_) => None,
        }
    }
}

/// Runs an appliance until it is told to end. `ready` is called when it serves.
///
/// Without `declared`, what is there is what was kept, and no endpoint of a file is served.
///
/// # Errors
/// See [`ApplianceError`].
pub fn run(
    settings: Settings,
    declared: Option<Declared>,
    ready: impl FnOnce(&Control),
) -> Result<(), ApplianceError> {
    let place = Place::take(&settings.socket)?;
    raise_descriptor_limit();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        // Before anybody is told that it serves, and may tell it to end.
        let mut signals = Signals::new()?;
        let (listener, socket) = place.listen()?;
        let state = settings.state.clone();
        let store: Arc<dyn Store> = match &state {
            Some(folder) => Arc::new(Embedded::open(folder)?),
            None => Arc::new(Memory::default()),
        };
        let opened = Control::open(settings, Arc::clone(&store)).await;
        let control = opened.map_err(|error| ApplianceError::open(state.as_deref(), error))?;
        if let Some(declared) = declared {
            control.declare(declared).await.map_err(|rejected| ApplianceError::Declared {
                message: rejected.failure.message,
                help: rejected.failure.help,
            })?;
        }
        // Whoever calls before waits: it is answered from the file, or not at all.
        let server = tokio::spawn(server::serve(control.clone(), listener));
        let names = tokio::spawn(control.clone().keep_names());
        ready(&control);
        let stopped = tend(&control, &mut signals).await;
        if stopped == Stopped::Signal {
            control.wind_down(true).await;
        }
        control.settle_all(state.is_some()).await;
        control.flush().await;
        if let Err(error) = store.close().await {
            tracing::error!(%error, "the store did not close");
        }
        server.abort();
        names.abort();
        control.stop();
        // The next appliance may start now. Closing this one's ports can take the kernel seconds.
        drop(socket);
        drop(place);
        Ok(())
    })
}

/// Why an appliance ends.
#[derive(PartialEq, Eq)]
enum Stopped {
    /// Somebody asked over the API, or nobody needs it any more.
    Done,
    /// A signal; what the file declares is still to be ended.
    Signal,
}

/// What an appliance is told by signals.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }
}

/// Tends the tables and follows signals until it is time to end.
async fn tend(control: &Control, signals: &mut Signals) -> Stopped {
    let mut tick = tokio::time::interval(TICK);
    let give_up_at = Instant::now() + AWAIT;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                control.tend();
                if control.is_awaiting() && Instant::now() > give_up_at {
                    control.give_up().await;
                }
                if control.is_owing() {
                    control.flush().await;
                }
                let idle = control.settings().on_demand && control.idle().is_some_and(|t| t > IDLE);
                if idle {
                    return Stopped::Done;
                }
            }
            () = control.ended() => return Stopped::Done,
            _ = signals.term.recv() => return Stopped::Signal,
            _ = signals.int.recv() => return Stopped::Signal,
            _ = signals.hup.recv() => reload(control.clone()),
        }
    }
}

/// Reads the file again. That can take a while, as plugins may be asked for addresses.
fn reload(control: Control) {
    tokio::spawn(async move {
        match control.reload().await {
            Ok(changes) => tracing::info!(changes = changes.len(), "reloaded"),
            Err(rejected) => tracing::error!("not reloaded: {}", rejected.failure.message),
        }
    });
}

/// The longest content of a lock: a process id.
const LOCK_LEN: u64 = 32;

/// The lock beside the socket's path, removed at the end, and the folder with it.
struct Place {
    socket: PathBuf,
    lock_path: PathBuf,
    lock: File,
}

impl Place {
    /// Locks the path of the socket, so that it is this process's alone until it ends, however it
    /// ends. What is at either path and is not an appliance's is left as it is.
    fn take(socket: &Path) -> Result<Self, ApplianceError> {
        let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        make_folder(folder).map_err(|error| ApplianceError::Folder(folder.to_owned(), error))?;
        let mut lock_path = socket.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let failed = |error: io::Error| ApplianceError::Folder(folder.to_owned(), error);
        // Before a lock is made beside something that was never meant to be a socket.
        refuse_files(socket)?;
        loop {
            let mut lock = open_lock(&lock_path).map_err(|error| match error.raw_os_error() {
                // A link; a folder; a device or a socket.
                Some(libc::ELOOP | libc::EISDIR | libc::ENXIO) => {
                    ApplianceError::Lock(lock_path.clone())
                }
                _ => failed(error),
            })?;
            let holder =
                holder(&mut lock).ok_or_else(|| ApplianceError::Lock(lock_path.clone()))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(ApplianceError::Busy(socket.to_owned(), holder));
            }
            // Whoever held the lock before may have removed the file after we opened it.
            if is_at(&lock, &lock_path) {
                lock.set_len(0).map_err(failed)?;
                lock.rewind().map_err(failed)?;
                writeln!(lock, "{}", std::process::id()).map_err(failed)?;
                return Ok(Self { socket: socket.to_owned(), lock_path, lock });
            }
        }
    }

    /// Makes the socket, in place of one that a killed appliance left.
    fn listen(&self) -> Result<(UnixListener, SocketPath), ApplianceError> {
        let failed = |error| ApplianceError::Socket(self.socket.clone(), error);
        // The umask is the process's; nothing else makes files yet.
        let former = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = SocketPath::bind(&self.socket);
        rustix::process::umask(former);
        let (listener, path) = bound.map_err(failed)?;
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok((UnixListener::from_std(listener).map_err(failed)?, path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if is_at(&self.lock, &self.lock_path) {
            // What somebody else removed is removed.
            let _ = fs::remove_file(&self.lock_path);
        }
        if let Some(folder) = self.socket.parent()
            && folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"weft"))
        {
            // Only when it is empty.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Refuses a path with something that is no socket. A socket that is alive is an appliance's, as
/// the lock will tell, or somebody else's, as binding will.
fn refuse_files(socket: &Path) -> Result<(), ApplianceError> {
    let occupied = socket_path::is_dead_socket(socket).err().filter(|error| {
        let occupied = error.get_ref().and_then(|inner| inner.downcast_ref::<Occupied>());
        occupied == Some(&Occupied::NoSocket)
    });
    occupied.map_or(Ok(()), |error| Err(ApplianceError::Socket(socket.to_owned(), error)))
}

/// Opens the lock, or makes it; nothing that a link leads to, and without waiting for a pipe's
/// other end.
fn open_lock(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// The process that a lock names; nothing for a file that is no lock.
fn holder(lock: &mut File) -> Option<String> {
    let metadata = lock.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LOCK_LEN {
        return None;
    }
    let mut text = String::new();
    lock.take(LOCK_LEN).read_to_string(&mut text).ok()?;
    let text = text.trim_end();
    // One that was made a moment ago is empty.
    (text.is_empty() || text.parse::<u32>().is_ok()).then(|| text.to_owned())
}

/// Whether the open file is what the path leads to.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => identity(ours) == identity(there),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

/// Makes the socket's folder, for its owner only, and its parents where they are missing.
fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Not what a link leads to: the link itself may be another user's.
    let owner = fs::symlink_metadata(folder)?.uid();
    let user = rustix::process::geteuid();
    if owner != user.as_raw() && !user.is_root() && owner != 0 {
        // In a shared place, such as /tmp, another user may have made it first.
        return Err(io::Error::other(format!("it belongs to user {owner}")));
    }
    Ok(())
}

/// Where the API socket is when nobody says.
pub fn default_socket() -> PathBuf {
    let user = rustix::process::geteuid();
    let logind = PathBuf::from(format!("/run/user/{user}"));
    let folder = match std::env::var_os("XDG_RUNTIME_DIR") {
        _ if user.is_root() => PathBuf::from("/run/weft"),
        Some(runtime) if !runtime.is_empty() => PathBuf::from(runtime).join("weft"),
        _ if logind.is_dir() => logind.join("weft"),
        _ => PathBuf::from(format!("/tmp/weft-{user}")),
    };
    folder.join("weft.sock")
}

/// Each sandbox takes two descriptors or more, and the usual limit of 1024 is for programs that use
/// `select`, which this one does not.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    // With the limit as it is there is room for fewer sandboxes, and no harm otherwise.
    let _ = setrlimit(Resource::Nofile, raised);
}
