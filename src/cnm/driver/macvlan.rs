//! `macvlan`: a switch with an uplink on a parent interface.
//!
//! Without a parent it is a switch that leads nowhere, as in Docker. In mode `passthru` there is one
//! endpoint, which stands in for the parent.

use weft_switch::UplinkMode;

use super::{NetworkDriver, Present};
use crate::cnm::network::{Network, NetworkSpec};
use crate::cnm::refusal::Refusal;

/// The driver `macvlan`.
#[derive(Debug)]
pub(super) struct Macvlan;

impl NetworkDriver for Macvlan {
    fn name(&self) -> &'static str {
        "macvlan"
    }

    fn check(&self, wish: &NetworkSpec) -> Result<(), Refusal> {
        match wish.options.uplink.parent {
            Some(parent) if parent.as_str() == "lo" => Err(Refusal::LoopbackParent),
            Some(_) | None => Ok(()),
        }
    }

    fn admit(&self, network: &Network, present: Present<'_, '_>) -> Result<(), Refusal> {
        match (network.options.uplink.mode, present.next()) {
            (Some(UplinkMode::Passthru), Some(present)) => Err(Refusal::PassthruTaken {
                network: network.name.clone(),
                by: present.name.clone(),
            }),
            (Some(_) | None, _) => Ok(()),
        }
    }
}
