//! After a restart of ours, a plugin that keeps nothing is asked again for what it gave.
//!
//! Only one that says so (`RequiresRequestReplay`), as the engine does: for each network the pool,
//! the gateway and the auxiliary addresses, and each endpoint's address. What it refuses stays with
//! whoever has it: running programs are not cut off because a plugin forgot them.

use tokio::time::Instant;

use super::Control;
use super::remote::Held;
use crate::cnm::{Network, Subnet};
use crate::plugin::{AddressWish, PluginError, PoolWish, RemoteIpam};

impl Control {
    /// Asks a driver again for everything that it gave to the appliance before.
    ///
    /// # Errors
    /// When it is away; then it is to be asked later.
    pub(super) async fn replay(
        &self,
        remote: &RemoteIpam,
        give_up: Instant,
    ) -> Result<(), PluginError> {
        if !remote.requires_replay() {
            return Ok(());
        }
        let given = self.state().given_by(remote.name());
        for (network, endpoints) in given {
            for subnet in &network.subnets {
                let replayed = self.replay_subnet(remote, &network, subnet, &endpoints, give_up);
                match replayed.await {
                    Err(error) if error.is_away() => return Err(error),
                    Err(error) => {
                        let (error, network) = (crate::cli::chain(&error), &network.name);
                        let driver = remote.name();
                        tracing::warn!(driver, network, error, "not given again");
                    }
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    async fn replay_subnet(
        &self,
        remote: &RemoteIpam,
        network: &Network,
        own: &Subnet,
        endpoints: &[Held],
        give_up: Instant,
    ) -> Result<(), PluginError> {
        let wish = PoolWish {
            subnet: Some(own.subnet),
            ip_range: own.ip_range,
            is_ipv6: own.subnet.is_ipv6(),
            options: &network.ipam.options,
        };
        let pool = remote.request_pool(wish, give_up).await?;
        if own.pool.as_ref() != Some(&pool.id) {
            let (id, subnet, name) = (network.id, own.subnet, pool.id.clone());
            let renamed = self.turn(
                move |state| {
                    state.model.rename_pool(id, subnet, name);
                    Ok(())
                },
                |_, ()| (),
            );
            if let Err(rejected) = renamed.await {
                tracing::warn!(error = rejected.failure.message, "a pool keeps its former id");
            }
        }
        // One that comes with the pool needs no request.
        if own.gateway.is_some() && pool.gateway != own.gateway {
            remote.request_address(&pool, AddressWish::Gateway(own.gateway), give_up).await?;
        }
        for address in own.aux.values() {
            remote.request_address(&pool, AddressWish::Auxiliary(*address), give_up).await?;
        }
        for Held { name, mac, address } in endpoints {
            if own.subnet.contains(*address) {
                let (address, mac) = (Some(*address), Some(*mac));
                let wish = AddressWish::Endpoint { address, mac, name };
                remote.request_address(&pool, wish, give_up).await?;
            }
        }
        Ok(())
    }
}
