//! An appliance for whoever needs one and has none: started in the background, gone when idle.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why no appliance could be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnDemandError {
    /// The process could not be started.
    #[error("an appliance cannot be started")]
    Spawn(#[source] io::Error),
    /// It started and gave up; its own words follow.
    #[error("the appliance did not start: {0}")]
    Failed(Complaint),
}

/// What a process that failed had to say.
#[derive(Debug)]
pub struct Complaint(String);

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.trim().trim_start_matches("weft: "))
    }
}

/// Starts an appliance on `socket` and waits until it listens. Two callers at once get one
/// appliance: the second one's start finds the first's and is content.
///
/// # Errors
/// See [`OnDemandError`].
pub fn start(socket: &Path) -> Result<(), OnDemandError> {
    let output = Command::new("/proc/self/exe")
        .arg0("weft")
        .arg("up")
        .arg("--on-demand")
        .arg("--detach")
        .arg("--socket")
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(OnDemandError::Spawn)?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(OnDemandError::Failed(Complaint(complaint)))
}
