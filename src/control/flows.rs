//! The flows through the gateways, for `weft show flows`.

use super::Control;
use crate::api::shapes::FlowLine;

/// Flows that are listed at most.
const MOST: usize = 10_000;

impl Control {
    /// The flows of all sandboxes.
    pub(crate) fn flows(&self) -> Vec<FlowLine> {
        let state = self.state();
        let mut lines = Vec::new();
        for (sandbox, attached) in state.attached() {
            let flows = attached.port.map(|port| state.runtime.flows(port)).unwrap_or_default();
            let room = MOST.saturating_sub(lines.len());
            lines.extend(flows.into_iter().take(room).map(|flow| FlowLine {
                sandbox: sandbox.name.clone(),
                network: attached.assigned.network.clone(),
                protocol: flow.protocol.to_owned(),
                inside: flow.inside,
                outside: flow.outside,
                state: flow.state.to_owned(),
                sent: flow.sent,
                received: flow.received,
            }));
        }
        lines.sort_by(|one, other| {
            let key = |line: &FlowLine| (line.sandbox.clone(), line.inside.clone());
            key(one).cmp(&key(other))
        });
        lines
    }
}
