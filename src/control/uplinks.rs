//! The parents of networks: opened before their networks are made, and told of.
//!
//! What a parent can be wrong in (it is missing, it is not ours to open, its packets are too small)
//! shows when it is opened, and that comes before anything is changed. What follows from it, the
//! MTU and the address that one endpoint may take over, goes into the options of the network.

use super::State;
use super::failure::Rejected;
use crate::api::shapes::{PortLine, UplinkStatus};
use crate::cnm::options::MAX_MTU;
use crate::cnm::{Id, NetworkSpec, parent};
use crate::port::packet::Packet;
use crate::runtime::uplink::{UplinkError, UplinkLine, open};

/// Opens the parent that a network is to have, if it is, and takes over what that gives.
///
/// # Errors
/// When the driver has none such, or it cannot be opened, or it takes no packets as large as the
/// network is to have.
pub(super) fn open_parent(wish: &mut NetworkSpec) -> Result<Option<Packet>, Rejected> {
    wish.driver.behaviour().check(wish)?;
    let options = &mut wish.options;
    let Some(parent) = options.uplink.parent else { return Ok(None) };
    let packet = open(parent)?;
    let Some(facts) = packet.facts() else { return Ok(None) };
    let most = most(facts.mtu);
    if options.mtu_given && options.mtu > most {
        let message = format!(
            "an MTU of {} is more than parent interface {parent} takes, which is {most}",
            options.mtu
        );
        return Err(Rejected::new(400, message).help("leave it out to have the parent's"));
    }
    options.take_over(most, facts.mac);
    Ok(Some(packet))
}

/// The MTU that networks can have on an interface with this one.
fn most(mtu: u32) -> u16 {
    mtu.min(u32::from(MAX_MTU)) as u16
}

impl From<UplinkError> for Rejected {
    fn from(error: UplinkError) -> Self {
        let status = match &error {
            UplinkError::Refused { .. } => 403,
            UplinkError::Missing { .. } | UplinkError::NotEthernet { .. } => 400,
        };
        let help = error.help();
        let rejected = Self::new(status, crate::cli::chain(&error));
        help.into_iter().fold(rejected, Self::help)
    }
}

impl State {
    /// Makes the switches of all networks that there are, when an appliance takes them up.
    ///
    /// A parent that cannot be opened now is waited for: its network was made when it could.
    pub(super) fn add_switches(&mut self) {
        let networks: Vec<Id> = self.model.networks().map(|network| network.id).collect();
        for id in networks {
            let parent = self.model.network(id).and_then(|network| network.options.uplink.parent);
            let packet = parent.and_then(|parent| {
                let opened = open(parent);
                let explained = |error: &UplinkError| {
                    let reason = crate::cli::chain(error);
                    tracing::warn!(reason, "a network has no way out for now");
                };
                opened.inspect_err(explained).ok()
            });
            if let Some(facts) = packet.as_ref().and_then(Packet::facts) {
                self.model.observe_parent(id, most(facts.mtu), facts.mac);
            }
            self.add_switch(id, packet);
        }
    }

    /// Makes the switch of a network that the model has, with its uplink if it has one.
    ///
    /// `packet` is its parent, opened; without it the place is kept until the parent is there.
    pub(super) fn add_switch(&mut self, id: Id, packet: Option<Packet>) {
        let Some(network) = self.model.network(id) else { return };
        if !network.driver.is_switched() {
            return;
        }
        self.runtime.add_switch(id, &network.options);
        let Some((parent, mode)) = network.options.uplink.uplink() else { return };
        match packet.map_or_else(|| Packet::absent(parent.as_str()), Ok) {
            Ok(packet) => self.runtime.add_uplink(id, parent, mode, packet),
            Err(error) => tracing::error!(%parent, %error, "no uplink can be made"),
        }
    }

    /// The uplinks, for those who ask how they are.
    pub(super) fn uplink_lines(&self) -> Vec<UplinkStatus> {
        let lines = self.runtime.uplinks().filter_map(|uplink| {
            Some(UplinkStatus {
                network: self.model.network(uplink.network)?.name.clone(),
                parent: uplink.parent.to_string(),
                mode: parent::mode_name(uplink.mode).to_owned(),
                condition: uplink.condition.name().to_owned(),
                port: uplink.port.get(),
            })
        });
        lines.collect()
    }

    /// The uplinks' ports, in the place of a sandbox the parent and how it is.
    pub(super) fn uplink_ports(&self) -> Vec<PortLine> {
        let lines = self.runtime.uplinks().filter_map(|uplink| {
            let (totals, worker) = self.runtime.port_totals(uplink.port)?;
            let network = self.model.network(uplink.network)?;
            let mut line = super::tables::port_line(&network.name, &uplink_name(&uplink), &totals);
            line.port = Some(uplink.port.get());
            line.mac = network.options.uplink.mac.map_or_else(String::new, |mac| mac.to_string());
            line.worker = Some(worker);
            Some(line)
        });
        lines.collect()
    }
}

/// What stands for an uplink where sandboxes have their names.
pub(super) fn uplink_name(uplink: &UplinkLine) -> String {
    format!("({} {})", uplink.parent, uplink.condition)
}
