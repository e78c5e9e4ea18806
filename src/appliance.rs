//! An appliance from start to end: one per socket, which it locks, serves, and removes.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::server;
use crate::cnm::Declared;
use crate::control::{Control, Settings};

/// How long an appliance that was started on demand stays without a sandbox.
const IDLE: Duration = Duration::from_secs(3);
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
    /// What the file declares cannot be brought about.
    #[error("{message}")]
    Declared {
        /// What and why.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// The process cannot be set up.
    #[error("the appliance cannot start")]
    Start(#[from] io::Error),
}

impl ApplianceError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Busy(..) => {
                Some("end it with `weft down`, or choose another with --socket".to_owned())
            }
            Self::Folder(..) | Self::Socket(..) => {
                Some("choose another place with --socket or WEFT_SOCKET".to_owned())
            }
            Self::Declared { help, .. } => help.clone(),
            Self::Start(_) => None,
        }
    }
}

/// Runs an appliance until it is told to end. `ready` is called when it serves.
///
/// # Errors
/// See [`ApplianceError`].
pub fn run(
    settings: Settings,
    declared: &Declared,
    ready: impl FnOnce(&Control),
) -> Result<(), ApplianceError> {
    let place = Place::take(&settings.socket)?;
    raise_descriptor_limit();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        let listener = place.listen()?;
        let control = Control::new(settings)?;
        let server = tokio::spawn(server::serve(control.clone(), listener));
        control.declare(declared).map_err(|rejected| ApplianceError::Declared {
            message: rejected.failure.message,
            help: rejected.failure.help,
        })?;
        ready(&control);
        let stopped = tend(&control).await;
        if stopped == Stopped::Signal {
            control.wind_down(true).await;
        }
        server.abort();
        control.stop();
        // The next appliance may start now. Closing this one's ports can take the kernel seconds.
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

/// Tends the tables and follows signals until it is time to end.
async fn tend(control: &Control) -> Stopped {
    let mut tick = tokio::time::interval(TICK);
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        return Stopped::Signal;
    };
    loop {
        tokio::select! {
            _ = tick.tick() => {
                control.tend();
                let idle = control.settings().on_demand && control.idle().is_some_and(|t| t > IDLE);
                if idle {
                    return Stopped::Done;
                }
            }
            () = control.ended() => return Stopped::Done,
            _ = term.recv() => return Stopped::Signal,
            _ = int.recv() => return Stopped::Signal,
            _ = hup.recv() => match control.reload() {
                Ok(changes) => tracing::info!(changes = changes.len(), "reloaded"),
                Err(rejected) => tracing::error!("not reloaded: {}", rejected.failure.message),
            },
        }
    }
}

/// The socket's path and the lock beside it, both removed at the end.
struct Place {
    socket: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Place {
    /// Locks the path of the socket, so that it is this process's alone until it ends, however it
    /// ends.
    fn take(socket: &Path) -> Result<Self, ApplianceError> {
        let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        make_folder(folder).map_err(|error| ApplianceError::Folder(folder.to_owned(), error))?;
        let mut lock_path = socket.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let failed = |error: io::Error| ApplianceError::Folder(folder.to_owned(), error);
        loop {
            let mut lock = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&lock_path)
                .map_err(failed)?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                let holder = fs::read_to_string(&lock_path).unwrap_or_default();
                return Err(ApplianceError::Busy(socket.to_owned(), holder.trim().to_owned()));
            }
            // Whoever held the lock before may have removed the file after we opened it.
            let ours = lock.metadata().map_err(failed)?.ino();
            if fs::metadata(&lock_path).is_ok_and(|current| current.ino() == ours) {
                lock.set_len(0).map_err(failed)?;
                writeln!(lock, "{}", std::process::id()).map_err(failed)?;
                return Ok(Self { socket: socket.to_owned(), lock_path, _lock: lock });
            }
        }
    }

    /// Makes the socket, in place of one that a killed appliance left.
    fn listen(&self) -> Result<UnixListener, ApplianceError> {
        let failed = |error| ApplianceError::Socket(self.socket.clone(), error);
        match fs::remove_file(&self.socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // The umask is the process's; nothing else makes files yet.
        let former = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&self.socket);
        rustix::process::umask(former);
        let listener = listener.map_err(failed)?;
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(listener)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What somebody else removed is removed.
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_file(&self.lock_path);
        if let Some(folder) = self.socket.parent()
            && folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"weft"))
        {
            // Only when it is empty.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Makes the socket's folder, for its owner only, and its parents where they are missing.
fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let owner = fs::metadata(folder)?.uid();
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
