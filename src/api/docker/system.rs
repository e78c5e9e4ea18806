//! `/_ping`, `/version` and `/info`: what a client asks first.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use super::{NEWEST, OLDEST, networks, text};
use crate::cnm::Driver;
use crate::control::Control;

/// What the answer to a ping says in its head, where `HEAD` finds it too.
const PING: [(HeaderName, HeaderValue); 7] = [
    (HeaderName::from_static("api-version"), HeaderValue::from_static("1.51")),
    (HeaderName::from_static("docker-experimental"), HeaderValue::from_static("false")),
    (HeaderName::from_static("ostype"), HeaderValue::from_static("linux")),
    (HeaderName::from_static("builder-version"), HeaderValue::from_static("")),
    (HeaderName::from_static("swarm"), HeaderValue::from_static("inactive")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate")),
    (header::PRAGMA, HeaderValue::from_static("no-cache")),
];

pub(super) async fn ping() -> ([(HeaderName, HeaderValue); 7], &'static str) {
    (PING, "OK")
}

pub(super) async fn version() -> Json<Value> {
    let system = rustix::system::uname();
    let version = env!("CARGO_PKG_VERSION");
    let release = system.release().to_string_lossy();
    let (newest, oldest) = (text(NEWEST), text(OLDEST));
    Json(json!({
        "Platform": { "Name": "weft" },
        "Components": [{
            "Name": "weft",
            "Version": version,
            "Details": {
                "ApiVersion": newest,
                "MinAPIVersion": oldest,
                "Os": "linux",
                "Arch": architecture(),
                "KernelVersion": release,
            },
        }],
        "Version": version,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": release,
    }))
}

pub(super) async fn info(State(control): State<Control>) -> Json<Value> {
    let status = control.status();
    let system = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let octets = memory.totalram * u64::from(memory.mem_unit);
    Json(json!({
        "ID": status.name,
        "Name": status.name,
        "ServerVersion": status.version,
        "Containers": status.sandboxes,
        "ContainersRunning": status.sandboxes,
        "ContainersPaused": 0,
        "ContainersStopped": 0,
        "Images": 0,
        "Driver": "none",
        "Plugins": {
            "Volume": [],
            "Network": Driver::known().into_iter().map(networks::driver_name).collect::<Vec<_>>(),
            "Authorization": null,
            "Log": [],
        },
        "OperatingSystem": system.sysname().to_string_lossy(),
        "OSType": "linux",
        "Architecture": system.machine().to_string_lossy(),
        "KernelVersion": system.release().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": octets,
        "SystemTime": super::moment::rfc3339(crate::control::unix_millis()),
        "ExperimentalBuild": false,
        "LiveRestoreEnabled": true,
        "Swarm": { "LocalNodeState": "inactive" },
        "SecurityOptions": [],
        "Labels": [],
        "Warnings": [],
    }))
}

/// Go's word for the processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_names_the_newest_version() {
        assert_eq!(PING[0].1, text(NEWEST));
    }
}
