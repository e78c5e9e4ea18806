//! An uplink: the port by which a network is part of a larger one that is not ours.
//!
//! A network with an uplink has its endpoints on both sides of nothing: each is a station of the
//! physical network beyond. Where stations of ours are is known (they are pinned, or learned when
//! they send); every other address is beyond the uplink. So nothing is learned from the uplink, an
//! unknown address is never flooded, and what the uplink brings is for a station of ours, for a
//! group, or not for us: it listens promiscuously, and strangers' traffic comes with the rest.
//!
//! [`UplinkMode`] says how endpoints reach each other, as for the kernel's macvlan:
//!
//! | mode | between endpoints | a group's frame from an endpoint | came back from outside |
//! | --- | --- | --- | --- |
//! | `bridge` | at once | to all endpoints, and out | dropped |
//! | `private` | never | out | dropped |
//! | `vepa` | by the switch outside, if that sends back | out | delivered, not to its sender |
//! | `passthru` | there is one endpoint | out | dropped |
//!
//! A frame that is already tagged never gets in from an endpoint: behind a tagged uplink it would
//! be one in another VLAN, and behind any it could be.
//!
//! # Sources
//! Linux `drivers/net/macvlan.c`; IEEE 802.1Q (edge virtual bridging, reflective relay).

use weft_frame::{Header, MacAddr};

use crate::drops::DropReason;
use crate::fdb::Fdb;
use crate::port::PortId;
use crate::switch::{Verdict, flood};
use crate::time::Instant;
use crate::topology::{Attachment, Topology, same_group};

/// How endpoints of a network with an uplink reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UplinkMode {
    /// Directly, as on a switch.
    #[default]
    Bridge,
    /// Not at all, also when the switch outside would send their frames back.
    Private,
    /// By the switch outside, which has to send back what came from where it goes to.
    Vepa,
    /// There is one endpoint, and it gets everything that the uplink brings.
    Passthru,
}

/// The uplink of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The port that leads out.
    pub port: PortId,
    /// What it means for the endpoints.
    pub mode: UplinkMode,
}

/// A frame in a network with an uplink, on either side of it.
pub(crate) struct Crossing<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) from: &'a Attachment,
    pub(crate) fdb: &'a Fdb,
    pub(crate) uplink: Uplink,
    pub(crate) ingress: PortId,
    pub(crate) now: Instant,
}

impl Crossing<'_> {
    /// Decides about a frame whose source and destination may be a station's.
    pub(crate) fn decide(&self, header: &Header) -> Verdict {
        if self.ingress == self.uplink.port { self.inward(header) } else { self.outward(header) }
    }

    /// A frame that an endpoint sent.
    fn outward(&self, header: &Header) -> Verdict {
        if header.vlan.is_some() {
            return Verdict::Drop(DropReason::Tagged);
        }
        self.fdb.learn(header.source, self.ingress, self.now);
        match self.uplink.mode {
            UplinkMode::Bridge => {}
            UplinkMode::Private | UplinkMode::Vepa | UplinkMode::Passthru => {
                return self.out(header);
            }
        }
        if header.destination.is_group() {
            return flood(self.from, self.now);
        }
        match self.place_of(header.destination) {
            None => Verdict::Forward(self.uplink.port),
            Some(egress) if egress == self.ingress => Verdict::Drop(DropReason::Hairpin),
            Some(egress) if self.is_separate(egress) => Verdict::Drop(DropReason::Isolated),
            Some(egress) => Verdict::Forward(egress),
        }
    }

    /// Out by the uplink and nowhere else; what is for many counts as flooding all the same.
    fn out(&self, header: &Header) -> Verdict {
        match &self.from.config.storm {
            Some(storm) if header.destination.is_group() && !storm.allow(self.now) => {
                Verdict::Drop(DropReason::Storm)
            }
            Some(_) | None => Verdict::Forward(self.uplink.port),
        }
    }

    /// A frame that came in by the uplink.
    fn inward(&self, header: &Header) -> Verdict {
        let sender = self.place_of(header.source);
        match (sender, self.uplink.mode) {
            (None, _) | (Some(_), UplinkMode::Vepa) => {}
            (Some(_), UplinkMode::Bridge | UplinkMode::Private | UplinkMode::Passthru) => {
                return Verdict::Drop(DropReason::Reflected);
            }
        }
        if header.destination.is_group() {
            return match sender {
                None => flood(self.from, self.now),
                Some(sender) => self.send_back(sender),
            };
        }
        match self.place_of(header.destination) {
            Some(egress) if Some(egress) == sender => Verdict::Drop(DropReason::Reflected),
            Some(egress) => Verdict::Forward(egress),
            // All of it is the endpoint's, and no more of a flood than on a wire.
            None if self.uplink.mode == UplinkMode::Passthru && !self.from.alone => Verdict::Flood,
            None => Verdict::Drop(DropReason::Stranger),
        }
    }

    /// What the switch outside sent back is for all but the one who sent it.
    fn send_back(&self, sender: PortId) -> Verdict {
        if self.topology.flood(self.ingress).all(|port| port == sender) {
            return Verdict::Drop(DropReason::Reflected);
        }
        match &self.from.config.storm {
            Some(storm) if !storm.allow(self.now) => Verdict::Drop(DropReason::Storm),
            Some(_) | None => Verdict::FloodExcept(sender),
        }
    }

    /// The port of a station of ours.
    fn place_of(&self, station: MacAddr) -> Option<PortId> {
        let place = self.fdb.lookup(station)?;
        let config = self.topology.port(place)?;
        let is_ours = config.network == self.from.config.network && place != self.uplink.port;
        is_ours.then_some(place)
    }

    fn is_separate(&self, egress: PortId) -> bool {
        let group = self.topology.port(egress).and_then(|to| to.group);
        same_group(self.from.config.group, group)
    }
}
