//! Endpoints that the file declares: the processes that serve them.
//!
//! Each declared endpoint is a `weft run` or `weft attach` of our own, so there is one way to make a
//! sandbox and not two. A process that ends is started again, soon the first time, then more and
//! more slowly; it ends with the appliance, also when the appliance is killed.

use std::os::unix::process::{CommandExt, parent_id};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::Control;
use crate::cnm::{Attach, DeclaredEndpoint};

/// The first pause before a process is started again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// After a process that ran this long the pause is the first one again.
const STEADY: Duration = Duration::from_secs(10);
/// How long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A declared endpoint's process, or the pause before its next start.
#[derive(Debug)]
pub struct Managed {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Managed {
    /// Starts to serve an endpoint, and goes on until it is stopped.
    pub fn start(control: &Control, name: &str, endpoint: &DeclaredEndpoint) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(keep(
            control.settings().socket.clone(),
            name.to_owned(),
            endpoint.clone(),
            stopped,
        ));
        Self { stop, task }
    }

    /// Asks the process to end.
    pub fn stop(&self) {
        // Nobody listens when the task has ended already.
        let _ = self.stop.send(true);
    }

    /// Waits until it has ended.
    pub async fn ended(self) {
        if self.task.await.is_err() {
            tracing::error!("the task that served an endpoint panicked");
        }
    }
}

async fn keep(
    socket: std::path::PathBuf,
    name: String,
    endpoint: DeclaredEndpoint,
    mut stopped: watch::Receiver<bool>,
) {
    let mut pause = PAUSES.0;
    while !*stopped.borrow() {
        let started = Instant::now();
        match command(&socket, &name, &endpoint).spawn() {
            Ok(mut child) => {
                tokio::select! {
                    status = child.wait() => tell(&name, status.ok()),
                    _ = stopped.changed() => {
                        end(&mut child).await;
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(endpoint = name, %error, "cannot be started"),
        }
        if started.elapsed() >= STEADY {
            pause = PAUSES.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES.1),
            _ = stopped.changed() => return,
        }
    }
}

fn tell(name: &str, status: Option<ExitStatus>) {
    match status {
        Some(status) if status.success() => {
            tracing::info!(endpoint = name, "ended; it is started again");
        }
        Some(status) => tracing::warn!(endpoint = name, %status, "ended; it is started again"),
        None => tracing::warn!(endpoint = name, "was lost; it is started again"),
    }
}

async fn end(child: &mut Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A process that has ended meanwhile needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// The command line that serves an endpoint.
fn command(socket: &std::path::Path, name: &str, endpoint: &DeclaredEndpoint) -> Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("weft");
    let verb = match endpoint.attach {
        Attach::Command(_) => "run",
        Attach::Netns(_) | Attach::Tap(_) | Attach::Qemu(_) => "attach",
    };
    command.arg(verb).arg("--socket").arg(socket).arg("--name").arg(name);
    command.arg("--declared").arg(std::process::id().to_string());
    let mut network = endpoint.network.clone();
    if let Some(ifname) = &endpoint.ifname {
        network.push_str(&format!(",ifname={ifname}"));
    }
    command.arg("--network").arg(network);
    for publish in &endpoint.publish {
        command.arg("--publish").arg(publish.to_string());
    }
    match &endpoint.attach {
        Attach::Command(words) => command.arg("--").args(words),
        Attach::Netns(path) => command.arg("--netns").arg(path),
        Attach::Tap(tap) => command.arg("--tap").arg(tap),
        Attach::Qemu(path) => command.arg("--qemu").arg(path),
    };
    command.stdin(Stdio::null());
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// Makes this process end when the appliance that started it does, however that ends; false when
/// it has ended already. For the processes above, when they start.
pub fn end_with_parent(appliance: u32) -> bool {
    // Without it, an appliance that is killed ends this process by the life line, a little later.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    parent_id() == appliance
}
