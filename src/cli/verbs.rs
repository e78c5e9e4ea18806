//! `up`, `check`, `reload`, `down` and `stop`: the verbs that have something done.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::args::{Down, Stop, Up};
use super::{Complaint, say};
use crate::api::client::{Client, ClientError, escaped};
use crate::api::server;
use crate::api::shapes::{Changes, Ended, SandboxLine};
use crate::appliance;
use crate::background::{self, Ready};
use crate::cnm::Declared;
use crate::cnm::plan::plan;
use crate::config::{Config, StorePlace};
use crate::control::Settings;
use crate::state_path;

/// How often `stop` looks whether a sandbox has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long an appliance that another `weft run` is starting may take to answer.
const START: Duration = Duration::from_secs(5);

pub(super) fn up(up: &Up, socket: &Path) -> Result<ExitCode, Complaint> {
    let config = match &up.file {
        Some(file) => load(file)?,
        None => Config::default(),
    };
    if up.dry_run {
        for change in plan(&Declared::default(), &config.declared) {
            say(&change.to_string());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ready = if up.detach {
        background::detach().map_err(|error| Complaint::new(&error))?
    } else {
        Ready::nobody()
    };
    let workers = config.appliance.workers.unwrap_or_else(default_workers);
    let settings = Settings {
        name: config.appliance.name.clone().unwrap_or_else(host_name),
        socket: socket.to_owned(),
        file: up.file.as_ref().map(|file| std::path::absolute(file).unwrap_or(file.clone())),
        state: state_folder(up.state.as_deref(), config.store, socket),
        on_demand: up.on_demand,
        workers,
        default_pools: config.default_address_pools,
        plugin_dirs: config.plugin_dirs,
    };
    // Without a file, what the last one declared is kept and not served.
    let declared = up.file.is_some().then_some(config.declared);
    let mut ready = Some(ready);
    let outcome = appliance::run(settings, declared, |control| {
        tracing::info!(socket = %control.settings().socket.display(), workers, "up");
        if let Some(ready) = ready.take() {
            ready.done(&format!("up at {}", control.settings().socket.display()));
        }
    });
    let Err(error) = outcome else { return Ok(ExitCode::SUCCESS) };
    let busy = matches!(error, appliance::ApplianceError::Busy(..));
    let answered = busy && up.on_demand && answers(&Client::new(socket));
    match ready {
        // Whoever wanted an appliance has one: somebody else was faster.
        Some(ready) if answered => ready.done("up"),
        Some(ready) if ready.is_awaited() => {
            ready.failed(&Complaint::new(&error).help(error.help()).printed());
        }
        _ => return Err(Complaint::new(&error).help(error.help())),
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder that state is kept in; none when it is not kept. What the command line says counts
/// more than what the file says.
fn state_folder(said: Option<&Path>, declared: StorePlace, socket: &Path) -> Option<PathBuf> {
    match (said, declared) {
        (Some(folder), _) if folder == Path::new("none") => None,
        (Some(folder), _) => Some(super::absolute(folder.to_owned())),
        (None, StorePlace::Folder(folder)) => Some(super::absolute(folder)),
        (None, StorePlace::Memory) => None,
        (None, StorePlace::Usual) => Some(state_path::default_folder(socket)),
    }
}

/// Waits until the appliance that has the socket's lock answers.
fn answers(client: &Client) -> bool {
    let patience = Instant::now() + START;
    while Instant::now() < patience {
        if client.get::<crate::api::shapes::Status>("/weft/v1/status").is_ok() {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}

pub(super) fn check(file: &Path) -> Result<ExitCode, Complaint> {
    let config = load(file)?;
    let Declared { networks, endpoints } = &config.declared;
    say(&format!(
        "{} is fine: {} networks, {} endpoints",
        file.display(),
        networks.len(),
        endpoints.len()
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn reload(client: &Client) -> Result<ExitCode, Complaint> {
    let Changes { changes } = client.post("/weft/v1/reload", &())?;
    if changes.is_empty() {
        say("nothing has changed");
    }
    for change in changes {
        say(&change);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn down(down: &Down, client: &Client) -> Result<ExitCode, Complaint> {
    let Ended { stopped, kept } =
        client.post("/weft/v1/down", &server::Down { keep: down.keep })?;
    if !stopped.is_empty() {
        say(&format!("stopped {}", stopped.join(", ")));
    }
    if !kept.is_empty() {
        say(&format!("still running, and looking for the next appliance: {}", kept.join(", ")));
    }
    // The socket's going is the sign that all is over, as for a script that starts the next one.
    let patience = Instant::now() + START;
    while client.socket().exists() && Instant::now() < patience {
        std::thread::sleep(LOOK);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn stop(stop: &Stop, client: &Client) -> Result<ExitCode, Complaint> {
    for name in &stop.names {
        let path = format!("/weft/v1/sandboxes/{}", escaped(name));
        let line: SandboxLine = client.get(&path)?;
        let path = format!("/weft/v1/sandboxes/{}", line.id);
        let patience = Duration::from_secs(stop.time);
        let _: () = client.post(&format!("{path}/stop"), &server::Stop { signal: stop.signal })?;
        if !ended(client, &path, patience)? {
            let kill = server::Stop { signal: libc::SIGKILL };
            let _: () = client.post(&format!("{path}/stop"), &kill)?;
            if !ended(client, &path, START)? {
                return Err(Complaint::text(format!("sandbox {name} does not end")));
            }
        }
        say(name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for a sandbox's end; false when it takes too long.
fn ended(client: &Client, path: &str, patience: Duration) -> Result<bool, Complaint> {
    let patience = Instant::now() + patience;
    loop {
        match client.get::<SandboxLine>(path) {
            Ok(_) if Instant::now() < patience => std::thread::sleep(LOOK),
            Ok(_) => return Ok(false),
            // An appliance of `weft run`'s own ends soon after its last sandbox.
            Err(ClientError::Refused(_) | ClientError::NotRunning(_)) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

fn load(file: &Path) -> Result<Config, Complaint> {
    Config::load(file).map_err(|error| Complaint::text(error.to_string()))
}

/// One thread for each processor, up to four: all but one sleep until that one is busy.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
