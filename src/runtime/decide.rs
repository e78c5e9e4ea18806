//! One frame's way through the appliance, whatever it was read with.
//!
//! [`Path::take`] is given a frame with its virtio-net header, asks the switch, and carries the
//! verdict out. It makes no system call but the writes.

use weft_frame::virtio::{self, Offload, VirtioHeader};
use weft_gateway::flow::Outlet;
use weft_gateway::station::Drop as Reason;
use weft_switch::{DropReason, Instant, PortId, Switch, Verdict};

use super::picture::Picture;
use crate::port::Port;
use crate::uplink::{Gateway, Guest};

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
    /// Where the gateway writes frames to its guests.
    reply: Box<[u8]>,
}

impl Path {
    /// The path of frames through worker `worker`.
    pub fn new(worker: usize) -> Self {
        let slot = || vec![0; SLOT].into_boxed_slice();
        Self { worker, scratch: slot(), reply: slot() }
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
                if let Some(gateway) = picture.gateway_of(ingress.id) {
                    // What the gateway does not answer is for others.
                    let _ = self.bring_to_gateway(
                        gateway,
                        ingress,
                        &packet[virtio::LEN..],
                        offload,
                        now,
                    );
                }
            }
            Ok((Verdict::FloodExcept(sender), offload)) => {
                counters.flooded(self.flood(picture, ingress.id, Some(sender), packet, offload));
            }
            Ok((Verdict::Gateway, offload)) => {
                let taken = match picture.gateway_of(ingress.id) {
                    Some(gateway) => self.bring_to_gateway(
                        gateway,
                        ingress,
                        &packet[virtio::LEN..],
                        offload,
                        now,
                    ),
                    None => Err(Reason::OtherStation),
                };
                match taken {
                    Ok(()) => counters.taken(),
                    Err(reason) => counters.refused(reason),
                }
            }
            Ok((Verdict::Drop(reason), _)) | Err(reason) => counters.dropped(reason),
        }
    }

    /// Does what the sockets of a guest's flows ask for; whether there is more to do at once.
    pub fn tend(&mut self, picture: &Picture, port: &Port, now: Instant) -> bool {
        let Some(gateway) = picture.gateway_of(port.id) else { return false };
        let (guest, mut outlet) = self.outlet(port);
        guest.turn(gateway, &mut outlet, for_gateway(now))
    }

    fn bring_to_gateway(
        &mut self,
        gateway: &Gateway,
        ingress: &Port,
        frame: &[u8],
        offload: Offload,
        now: Instant,
    ) -> Result<(), Reason> {
        let (guest, mut outlet) = self.outlet(ingress);
        guest.packet(gateway, &mut outlet, for_gateway(now), (frame, offload))
    }

    fn outlet<'a>(&'a mut self, port: &'a Port) -> (&'a Guest, ToGuest<'a>) {
        let Self { worker, scratch, reply } = self;
        (&port.guest, ToGuest { port, worker: *worker, scratch, reply })
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

/// The way from a gateway to a guest.
struct ToGuest<'a> {
    port: &'a Port,
    worker: usize,
    scratch: &'a mut [u8],
    reply: &'a mut [u8],
}

impl Outlet for ToGuest<'_> {
    fn buffer(&mut self) -> &mut [u8] {
        self.reply
    }

    fn send(&mut self, len: usize) -> bool {
        let counters = self.port.counters(self.worker);
        counters.originated();
        let packet = &self.reply[..len];
        let sent = VirtioHeader::parse(packet)
            .and_then(|(header, frame)| header.check(frame).ok())
            .ok_or(DropReason::Rejected)
            .and_then(|offload| self.port.transmit(packet, offload, self.scratch));
        match sent {
            Ok(()) => counters.transmitted(len - virtio::LEN),
            Err(reason) => counters.dropped(reason),
        }
        sent.is_ok()
    }

    fn has_room(&self) -> bool {
        true
    }
}

/// The time as the gateway counts it.
fn for_gateway(now: Instant) -> weft_gateway::Instant {
    weft_gateway::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
