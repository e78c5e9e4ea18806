//! What passed a port, counted by the worker that saw it.
//!
//! Each worker has counters of its own for every port, so that no two threads write one cache line:
//! an increment is a plain load and store. Reading adds them up. Two equations hold at rest:
//!
//! - frames in = forwarded + flooded + taken by the gateway + dropped (reasons of the ingress stage)
//! - copies out = transmitted + dropped (reasons of the egress stage), over all ports, where a
//!   forwarded frame makes one copy, a flooded one a copy per port it is flooded to, and the gateway
//!   one for each frame it sends to its guest. A superframe of whose segments some could not be sent
//!   counts as dropped.

use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering};

use weft_gateway::station::Drop as Reason;
use weft_switch::DropReason;

/// The counters that one worker keeps for one port.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counters {
    received: AtomicU64,
    received_octets: AtomicU64,
    forwarded: AtomicU64,
    flooded: AtomicU64,
    taken: AtomicU64,
    copies: AtomicU64,
    transmitted: AtomicU64,
    transmitted_octets: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
    refusals: Refusals,
}

/// What the gateway dropped, by reason.
#[derive(Debug)]
struct Refusals([AtomicU64; Reason::COUNT]);

impl Default for Refusals {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// The same, added up at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Frames that came in; a superframe counts once.
    pub received: u64,
    /// Their octets, without virtio-net headers.
    pub received_octets: u64,
    /// Of the frames that came in, how many went to the one port their station is behind.
    pub forwarded: u64,
    /// Of the frames that came in, how many went to every other port.
    pub flooded: u64,
    /// Of the frames that came in, how many the gateway took.
    pub taken: u64,
    /// How many copies forwarding and flooding made, and how many frames the gateway.
    pub copies: u64,
    /// Copies that left through this port.
    pub transmitted: u64,
    /// Their octets.
    pub transmitted_octets: u64,
    /// Frames and copies that ended here, by reason.
    pub drops: [u64; DropReason::COUNT],
    /// Frames that the gateway dropped, by its own reasons.
    pub refusals: [u64; Reason::COUNT],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            received: 0,
            received_octets: 0,
            forwarded: 0,
            flooded: 0,
            taken: 0,
            copies: 0,
            transmitted: 0,
            transmitted_octets: 0,
            drops: [0; DropReason::COUNT],
            refusals: [0; Reason::COUNT],
        }
    }
}

impl Counters {
    /// A frame of `octets` came in.
    pub fn received(&self, octets: usize) {
        add(&self.received, 1);
        add(&self.received_octets, octets as u64);
    }

    /// It goes to one port.
    pub fn forwarded(&self) {
        add(&self.forwarded, 1);
        add(&self.copies, 1);
    }

    /// It goes to `copies` ports.
    pub fn flooded(&self, copies: u64) {
        add(&self.flooded, 1);
        add(&self.copies, copies);
    }

    /// The gateway takes it.
    pub fn taken(&self) {
        add(&self.taken, 1);
    }

    /// The gateway made a frame for this port.
    pub fn originated(&self) {
        add(&self.copies, 1);
    }

    /// A copy of `octets` left through this port.
    pub fn transmitted(&self, octets: usize) {
        add(&self.transmitted, 1);
        add(&self.transmitted_octets, octets as u64);
    }

    /// A frame, or a copy, ended here.
    pub fn dropped(&self, reason: DropReason) {
        add(&self.drops[reason.index()], 1);
    }

    /// A frame ended at the gateway.
    pub fn refused(&self, reason: Reason) {
        add(&self.refusals.0[reason.index()], 1);
    }

    /// What stands in the counters now.
    pub fn read(&self) -> Totals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            received: load(&self.received),
            received_octets: load(&self.received_octets),
            forwarded: load(&self.forwarded),
            flooded: load(&self.flooded),
            taken: load(&self.taken),
            copies: load(&self.copies),
            transmitted: load(&self.transmitted),
            transmitted_octets: load(&self.transmitted_octets),
            drops: std::array::from_fn(|reason| load(&self.drops[reason])),
            refusals: std::array::from_fn(|reason| load(&self.refusals.0[reason])),
        }
    }
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum.received += part.received;
            sum.received_octets += part.received_octets;
            sum.forwarded += part.forwarded;
            sum.flooded += part.flooded;
            sum.taken += part.taken;
            sum.copies += part.copies;
            sum.transmitted += part.transmitted;
            sum.transmitted_octets += part.transmitted_octets;
            for (total, drops) in sum.drops.iter_mut().zip(part.drops) {
                *total += drops;
            }
            for (total, refusals) in sum.refusals.iter_mut().zip(part.refusals) {
                *total += refusals;
            }
            sum
        })
    }
}

/// Adds without a locked instruction: only one thread writes a worker's counters.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
