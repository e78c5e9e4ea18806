//! `bridge`: a learning switch on this host.

use super::NetworkDriver;

/// The driver `bridge`: everything as it is unless somebody says otherwise.
#[derive(Debug)]
pub(super) struct Bridge;

impl NetworkDriver for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }
}
