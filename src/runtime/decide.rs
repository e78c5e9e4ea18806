//! One frame's way through the appliance, whatever it was read with.
//!
//! [`Path::take`] is given a frame with its virtio-net header, asks the switch, and carries the
//! verdict out. It makes no system call but the writes.

use weft_frame::virtio::{self, Offload, VirtioHeader};
use weft_switch::{DropReason, Instant, PortId, Switch, Verdict};

use super::picture::Picture;
use crate::port::Port;

/// The longest frame that the switch takes: an IP packet of 65 535 octets behind two VLAN tags.
pub const MAX_FRAME: usize = 65_535 + 14 + 8;
/// A buffer that the largest frame fits with its virtio-net header, and then some: a TAP cuts off
/// silently what a buffer has no room for.
pub const SLOT: usize = 65_536 + 1_024;

/// What a worker needs to carry out verdicts.
#[derive(Debug)]
pub struct Path {
    worker: usize,
    scratch: Box<[u8]>,
}

impl Path {
    /// The path of frames through worker `worker`.
    pub fn new(worker: usize) -> Self {
        Self { worker, scratch: vec![0; SLOT].into_boxed_slice() }
    }

    /// Decides about one frame and carries it out. Counts it once where it came in, and each of its
    /// copies once where it goes.
    pub fn take(&mut self, picture: &Picture, ingress: &Port, packet: &[u8], now: Instant) {
        let counters = ingress.counters(self.worker);
        counters.received(packet.len().saturating_sub(virtio::LEN));
        match self.decide(picture, ingress.id, packet, now) {
            Ok((Verdict::Forward(egress), offload)) => {
                counters.forwarded();
                self.transmit(picture, egress, packet, offload);
            }
            Ok((Verdict::Flood, offload)) => {
                counters.flooded(self.flood(picture, ingress.id, None, packet, offload));
            }
            Ok((Verdict::FloodExcept(sender), offload)) => {
                counters.flooded(self.flood(picture, ingress.id, Some(sender), packet, offload));
            }
            Ok((Verdict::Drop(reason), _)) | Err(reason) => counters.dropped(reason),
        }
    }

    /// Counts a frame of `octets` that came in and is not for the switch to decide about.
    pub fn refuse(&self, ingress: &Port, octets: usize, reason: DropReason) {
        let counters = ingress.counters(self.worker);
        counters.received(octets);
        counters.dropped(reason);
    }

    fn decide(
        &self,
        picture: &Picture,
        ingress: PortId,
        packet: &[u8],
        now: Instant,
    ) -> Result<(Verdict, Offload), DropReason> {
        let (header, frame) = VirtioHeader::parse(packet).ok_or(DropReason::Runt)?;
        if frame.len() > MAX_FRAME {
            return Err(DropReason::Giant);
        }
        let offload = header.check(frame).map_err(|_| DropReason::BadOffload)?;
        Ok((Switch::new(&picture.topology).forward(ingress, frame, now), offload))
    }

    /// Sends a copy to each port that a flood reaches; how many that were.
    fn flood(
        &mut self,
        picture: &Picture,
        ingress: PortId,
        except: Option<PortId>,
        packet: &[u8],
        offload: Offload,
    ) -> u64 {
        let reached = picture.topology.flood(ingress).filter(|egress| Some(*egress) != except);
        reached.map(|egress| self.transmit(picture, egress, packet, offload)).count() as u64
    }

    /// Sends one copy and counts it at the port it goes to.
    fn transmit(&mut self, picture: &Picture, egress: PortId, packet: &[u8], offload: Offload) {
        let Some(port) = picture.port(egress) else {
            debug_assert!(false, "the topology names a port that the picture lacks");
            return;
        };
        let counters = port.counters(self.worker);
        match port.transmit(packet, offload, &mut self.scratch) {
            Ok(()) => counters.transmitted(packet.len() - virtio::LEN),
            Err(reason) => counters.dropped(reason),
        }
    }
}
