//! Which worker reads which port.
//!
//! One worker reads everything for as long as it keeps up: two that share a conversation only wake
//! each other. When it is busy, ports worth about half of the difference move to the idlest one;
//! when all is calm again, they come back. What a port costs is judged by what it received, what a
//! worker does by its processor time.

use std::collections::BTreeMap;
use std::time::Instant;

use weft_switch::PortId;

use super::PortState;
use super::worker::Handle;
use crate::port::counters::Totals;

/// A worker that uses this part of a processor is busy.
const BUSY: f64 = 0.6;
/// The busiest and the idlest must be this far apart before ports move.
const APART: f64 = 0.3;
/// All workers together use less than this: one can do it.
const CALM: f64 = 0.4;
/// What moves must be worth this part of the busy worker's ports, or it is not worth it.
const WORTH: f64 = 0.15;
/// A port may move that overshoots the wanted part by this much.
const OVERSHOOT: f64 = 1.2;
/// The octets that cost as much as a frame does whatever its length.
const OCTETS_PER_FRAME: u64 = 16 << 10;

/// What a port costs its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burden {
    /// The port.
    pub port: PortId,
    /// The worker that reads it.
    pub reader: usize,
    /// Its cost since the last look, in frames' worth.
    pub cost: u64,
}

/// Whether a worker with this load should be scheduled for bulk; `None` leaves it as it is.
pub fn wants_bulk(load: f64) -> Option<bool> {
    if load >= BUSY { Some(true) } else { (load < CALM).then_some(false) }
}

/// Which ports to move, and to which worker; `loads` is the part of a processor each worker uses.
pub fn moves(loads: &[f64], burdens: &[Burden]) -> Vec<(PortId, usize)> {
    let by_load = |one: &usize, other: &usize| loads[*one].total_cmp(&loads[*other]);
    let (Some(busiest), Some(idlest)) =
        ((0..loads.len()).max_by(by_load), (0..loads.len()).min_by(by_load))
    else {
        return Vec::new();
    };
    let (most, least) = (loads[busiest], loads[idlest]);
    if loads.iter().sum::<f64>() < CALM {
        let away = burdens.iter().filter(|burden| burden.reader != 0);
        return away.map(|burden| (burden.port, 0)).collect();
    }
    if most < BUSY || most - least < APART {
        return Vec::new();
    }
    let mut candidates: Vec<Burden> =
        burdens.iter().copied().filter(|burden| burden.reader == busiest).collect();
    candidates.sort_by_key(|burden| (std::cmp::Reverse(burden.cost), burden.port));
    let total = candidates.iter().map(|burden| burden.cost).sum::<u64>() as f64;
    let mut wanted = total * (most - least) / 2.0 / most;
    let mut moved = 0.0;
    let mut chosen = Vec::new();
    for burden in candidates {
        let cost = burden.cost as f64;
        if burden.cost > 0 && cost <= wanted * OVERSHOOT {
            chosen.push((burden.port, idlest));
            wanted -= cost;
            moved += cost;
        }
    }
    if moved < total * WORTH { Vec::new() } else { chosen }
}

/// Remembers what was counted at the last look.
#[derive(Debug, Default)]
pub struct Watch {
    looked: Option<Instant>,
    busy_ns: Vec<u64>,
    costs: BTreeMap<PortId, u64>,
}

impl Watch {
    /// The part of a processor that each worker has used since the last look; `None` at the first.
    pub fn loads(&mut self, workers: &[Handle]) -> Option<Vec<f64>> {
        let now = Instant::now();
        let busy_ns: Vec<u64> = workers.iter().map(Handle::busy_ns).collect::<Option<_>>()?;
        let before = std::mem::replace(&mut self.busy_ns, busy_ns);
        let elapsed = now.duration_since(self.looked.replace(now)?).as_nanos().max(1) as f64;
        let spent = self.busy_ns.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        Some(spent.map(|spent| spent as f64 / elapsed).collect())
    }

    /// What a port has cost since the last look.
    pub fn cost(&mut self, port: PortId, totals: &Totals) -> u64 {
        let cost = totals.received + totals.received_octets / OCTETS_PER_FRAME;
        cost.saturating_sub(self.costs.insert(port, cost).unwrap_or(0))
    }

    /// Forgets ports that are no more.
    pub(super) fn forget_except(&mut self, ports: &BTreeMap<PortId, PortState>) {
        self.costs.retain(|port, _| ports.contains_key(port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burdens(costs: &[(usize, u64)]) -> Vec<Burden> {
        let numbered = (1..).zip(costs);
        let port = |number| PortId::new(number).expect("not zero");
        numbered
            .map(|(number, (reader, cost))| Burden {
                port: port(number),
                reader: *reader,
                cost: *cost,
            })
            .collect()
    }

    #[test]
    #[rustfmt::skip]
    fn ports_move_when_a_worker_is_busy_and_come_back_when_all_is_calm() {
        let pairs = [(0, 900), (0, 20), (0, 900), (0, 20), (0, 900), (0, 20), (0, 900), (0, 20)];
        type Case<'a> = (&'a str, &'a [f64], &'a [(usize, u64)], &'a [(u16, usize)]);
        let cases: [Case<'_>; 8] = [
            ("one worker",           &[0.9],      &pairs,                       &[]),
            ("not busy",             &[0.5, 0.0], &pairs,                       &[]),
            ("busy: half of it",     &[0.9, 0.0], &pairs,                       &[(1, 1), (3, 1), (2, 1), (4, 1)]),
            ("even",                 &[0.9, 0.8], &pairs,                       &[]),
            ("one conversation",     &[0.9, 0.0], &[(0, 900), (0, 50)],         &[]),
            ("one port",             &[0.9, 0.0], &[(0, 900)],                  &[]),
            ("calm",                 &[0.1, 0.1], &[(0, 9), (1, 9), (1, 0)],    &[(2, 0), (3, 0)]),
            ("idle ports stay",      &[0.9, 0.0], &[(0, 50), (0, 50), (0, 0)],  &[(1, 1)]),
        ];
        for (name, loads, costs, expected) in cases {
            let moved = moves(loads, &burdens(costs));
            let moved: Vec<(u16, usize)> = moved.iter().map(|(port, to)| (port.get(), *to)).collect();
            assert_eq!(moved, expected, "{name}");
        }
    }
}
