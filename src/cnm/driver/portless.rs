//! `host` and `none`: networks without a switch, whose endpoints are only taken note of.

use super::NetworkDriver;

/// The driver `host`: the sandbox shares the host's stack.
#[derive(Debug)]
pub(super) struct Host;

/// The driver `none`: loopback only.
#[derive(Debug)]
pub(super) struct None;

impl NetworkDriver for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn is_switched(&self) -> bool {
        false
    }
}

impl NetworkDriver for None {
    fn name(&self) -> &'static str {
        "none"
    }

    fn is_switched(&self) -> bool {
        false
    }
}
