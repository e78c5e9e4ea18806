//! The live tables: what `weft ps`, `weft status` and `weft show` print.

use super::uplinks::uplink_name;
use super::{Control, State};
use crate::api::shapes::{DropLine, FdbLine, PortLine, SandboxLine, Status};
use crate::cnm::Id;
use crate::control::sandboxes::{Attached, Sandbox};
use crate::port::counters::Totals;
use crate::runtime::counted;
use weft_switch::{DropReason, PortId, Stage};

/// What stands for the sandboxes whose ports have gone.
const GONE: &str = "(gone)";

impl Control {
    /// The appliance at a glance.
    pub(crate) fn status(&self) -> Status {
        let state = self.state();
        let settings = self.settings();
        Status {
            name: settings.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.started().elapsed().as_secs(),
            file: settings.file.clone(),
            state: settings.state.clone(),
            on_demand: settings.on_demand,
            workers: state.runtime.workers(),
            networks: state.model.networks().count(),
            sandboxes: state.sandboxes.len(),
            endpoints: state.model.endpoints().count(),
            resident_kib: resident_kib(),
            uplinks: state.uplink_lines(),
        }
    }

    /// The sandboxes, by name.
    pub(crate) fn sandboxes(&self) -> Vec<SandboxLine> {
        let state = self.state();
        let mut lines: Vec<SandboxLine> = state.sandboxes.values().map(sandbox_line).collect();
        lines.sort_by(|one, other| one.name.cmp(&other.name));
        lines
    }

    /// The sandbox that is meant: by name, or by the beginning of its id when it is the only one.
    pub(crate) fn find(&self, reference: &str) -> Option<(SandboxLine, Id)> {
        let state = self.state();
        let found = state.find(reference)?;
        Some((sandbox_line(found), found.id))
    }

    /// The ports that exist.
    pub(crate) fn ports(&self) -> Vec<PortLine> {
        let state = self.state();
        let mut lines: Vec<PortLine> = state
            .attached()
            .filter_map(|(sandbox, attached)| {
                let (totals, worker) = state.runtime.port_totals(attached.port?)?;
                let mut line = port_line(&attached.assigned.network, &sandbox.name, &totals);
                line.port = attached.port.map(PortId::get);
                line.mac.clone_from(&attached.assigned.mac);
                line.worker = Some(worker);
                Some(line)
            })
            .collect();
        lines.extend(state.uplink_ports());
        lines.sort_by_key(|line| line.port);
        for network in state.model.networks() {
            let past = state.runtime.past_totals(network.id);
            let past = past.filter(|past| *past != Totals::default());
            lines.extend(past.map(|past| port_line(&network.name, GONE, &past)));
        }
        lines
    }

    /// The stations that the switches know.
    pub(crate) fn fdb(&self) -> Vec<FdbLine> {
        let state = self.state();
        let mut lines = Vec::new();
        for network in state.model.networks() {
            for (entry, age_s) in state.runtime.fdb(network.id) {
                lines.push(FdbLine {
                    network: network.name.clone(),
                    mac: entry.address.to_string(),
                    port: entry.port.get(),
                    sandbox: state.behind(entry.port).map_or_else(String::new, str::to_owned),
                    age_s: (!entry.is_static).then_some(age_s),
                });
            }
        }
        lines
    }

    /// What was dropped, by port and reason.
    pub(crate) fn drops(&self) -> Vec<DropLine> {
        let state = self.state();
        let mut lines = Vec::new();
        for (sandbox, attached) in state.attached() {
            let Some((totals, _)) = attached.port.and_then(|p| state.runtime.port_totals(p)) else {
                continue;
            };
            let port = attached.port.map(PortId::get);
            let network = &attached.assigned.network;
            lines.extend(drop_lines(port, &sandbox.name, network, &totals));
        }
        for uplink in state.runtime.uplinks() {
            let network = state.model.network(uplink.network).map(|network| &network.name);
            let totals = state.runtime.port_totals(uplink.port);
            if let (Some(network), Some((totals, _))) = (network, totals) {
                let port = Some(uplink.port.get());
                lines.extend(drop_lines(port, &uplink_name(&uplink), network, &totals));
            }
        }
        for network in state.model.networks() {
            if let Some(past) = state.runtime.past_totals(network.id) {
                lines.extend(drop_lines(None, GONE, &network.name, &past));
            }
        }
        lines
    }
}

impl State {
    /// The sandbox that is meant by a name or the beginning of an id.
    pub(crate) fn find(&self, reference: &str) -> Option<&Sandbox> {
        let named = self.sandboxes.values().find(|sandbox| sandbox.name == reference);
        named.or_else(|| {
            let mut matching = self.sandboxes.values().filter(|sandbox| {
                !reference.is_empty() && sandbox.id.to_string().starts_with(reference)
            });
            matching.next().filter(|_| matching.next().is_none())
        })
    }

    /// The sandbox that an endpoint of the file has at the moment.
    pub(crate) fn serving(&self, endpoint: Id) -> Option<Id> {
        let declared = self.sandboxes.values().filter(|sandbox| sandbox.declared);
        let mut serving = declared
            .filter(|sandbox| sandbox.endpoints.iter().any(|own| own.assigned.id == endpoint));
        serving.next().map(|sandbox| sandbox.id)
    }

    fn attached(&self) -> impl Iterator<Item = (&Sandbox, &Attached)> {
        self.sandboxes
            .values()
            .flat_map(|sandbox| sandbox.endpoints.iter().map(move |attached| (sandbox, attached)))
    }

    fn behind(&self, port: PortId) -> Option<&str> {
        let found = self.attached().find(|(_, attached)| attached.port == Some(port));
        found.map(|(sandbox, _)| sandbox.name.as_str())
    }
}

fn sandbox_line(sandbox: &Sandbox) -> SandboxLine {
    SandboxLine {
        id: sandbox.id,
        name: sandbox.name.clone(),
        kind: sandbox.kind,
        pid: sandbox.pid,
        command: sandbox.command.clone(),
        age_s: sandbox.since.elapsed().as_secs(),
        endpoints: sandbox.endpoints.iter().map(|a| a.assigned.clone()).collect(),
    }
}

pub(super) fn port_line(network: &str, sandbox: &str, totals: &Totals) -> PortLine {
    PortLine {
        port: None,
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        mac: String::new(),
        worker: None,
        received: totals.received,
        received_octets: totals.received_octets,
        forwarded: totals.forwarded,
        flooded: totals.flooded,
        dropped: sum_of(totals, Stage::Ingress),
        copies: totals.copies,
        transmitted: totals.transmitted,
        transmitted_octets: totals.transmitted_octets,
        egress_dropped: sum_of(totals, Stage::Egress),
    }
}

fn sum_of(totals: &Totals, stage: Stage) -> u64 {
    let reasons = DropReason::ALL.iter().filter(|reason| reason.stage() == stage);
    reasons.map(|reason| totals.drops[reason.index()]).sum()
}

fn drop_lines(
    port: Option<u16>,
    sandbox: &str,
    network: &str,
    totals: &Totals,
) -> impl Iterator<Item = DropLine> {
    counted(totals).map(move |(reason, count)| DropLine {
        port,
        sandbox: sandbox.to_owned(),
        network: network.to_owned(),
        reason: reason.label().to_owned(),
        count,
        meaning: reason.sentence().to_owned(),
    })
}

/// The memory that this process has in use, in KiB; 0 where the kernel does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0)
}
