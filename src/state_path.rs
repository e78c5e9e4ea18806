//! Where the state of an appliance is when nobody says.
//!
//! An appliance is known by its socket, so each socket has a state of its own. The usual socket's is
//! where the system keeps such things; any other's is beside it.

use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::appliance::default_socket;

/// The folder with the state of the appliance that has this socket.
pub fn default_folder(socket: &Path) -> PathBuf {
    if socket == default_socket()
        && let Some(usual) = usual_folder()
    {
        return usual;
    }
    let mut beside = socket.as_os_str().to_owned();
    beside.push(".state");
    PathBuf::from(beside)
}

/// `/var/lib/weft` for root; else what the XDG Base Directory Specification calls the user's state.
fn usual_folder() -> Option<PathBuf> {
    if geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/weft"));
    }
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME");
    // A user without a home, as services and builds have them, has the state beside the socket.
    let home = || absolute("HOME").filter(|home| home.is_dir());
    state.or_else(|| Some(home()?.join(".local/state"))).map(|folder| folder.join("weft"))
}
