//! Router advertisements: which prefixes there are, by which router one leaves, who knows names.
//!
//! Asked, the gateway answers the one who asked. Unasked, it tells everybody at the times of a
//! [`Schedule`], and once more with lifetimes of zero when it goes.
//!
//! # Sources
//! RFC 4861 §6.2 (what routers do), §4.6 (options), RFC 8106 (resolvers and search domains),
//! RFC 6085 (a group's packet to one station), RFC 8028 §2 (no way out: lifetime 0).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use ipnetwork::Ipv6Network;
use weft_frame::MacAddr;
use weft_switch::Instant;

use super::neighbor::{NO_ROUTER, are_options, has_option, link_address};
use super::write::{self, HOP_LIMIT, ICMPV6};
use super::{ALL_NODES, Addresses, Answer, Arrival, Drop, Envelope, Router, Station, Verdict};

const SOURCE_LINK_ADDRESS: u8 = 1;
/// The frames of everybody who understands IPv6 (RFC 2464 §7).
const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
/// The least MTU of IPv6; a lesser one is not advertised (RFC 4861 §4.6.4).
const MIN_MTU: u16 = 1280;
/// The least time between two advertisements to everybody.
const MIN_INTERVAL_SECONDS: u64 = 200;
/// The most time between two advertisements to everybody.
const MAX_INTERVAL_SECONDS: u64 = 600;
/// The first few follow each other faster, as guests may have missed one.
const INITIAL: u8 = 3;
/// The most time between those.
const MAX_INITIAL_SECONDS: u64 = 16;

/// Whether an advertisement is valid as long as configured, or takes back what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The router stays.
    Going,
    /// The router goes: it is no way out and knows no names any more. Prefixes stay on the link.
    Ceasing,
}

/// When to advertise to everybody, unasked: at random times, so that networks do not fall into
/// step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    due: Instant,
    sent: u8,
}

impl Schedule {
    /// Starts a schedule whose first advertisement is due at once.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { due: now, sent: 0 }
    }

    /// When the next advertisement is due.
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Whether an advertisement is due; if so the next one is set by `chance`, any number at all.
    pub fn is_due(&mut self, now: Instant, chance: u32) -> bool {
        if now < self.due {
            return false;
        }
        let spread = (MAX_INTERVAL_SECONDS - MIN_INTERVAL_SECONDS) * 1_000_000;
        let random = MIN_INTERVAL_SECONDS * 1_000_000 + ((u64::from(chance) * spread) >> 32);
        self.sent = self.sent.saturating_add(1);
        let limit = if self.sent < INITIAL { MAX_INITIAL_SECONDS * 1_000_000 } else { u64::MAX };
        self.due = Instant::from_micros(now.as_micros().saturating_add(random.min(limit)));
        true
    }
}

impl Station {
    /// Whether guests may use it as a router.
    pub(super) const fn is_router(&self) -> bool {
        self.config.router.is_some() && self.config.leads_out
    }

    pub(super) fn router_solicitation(&self, arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Verdict {
        let source = match arrival.check_discovery() {
            Ok(Addresses::V6 { source, .. }) => source,
            Ok(Addresses::V4 { .. }) => return Verdict::Drop(Drop::Malformed),
            Err(reason) => return Verdict::Drop(reason),
        };
        let Some(options) = arrival.transport().get(8..).filter(|options| are_options(options))
        else {
            return Verdict::Drop(Drop::Malformed);
        };
        if source.is_unspecified() && has_option(options, SOURCE_LINK_ADDRESS) {
            return Verdict::Drop(Drop::Malformed);
        }
        let Some(router) = &self.config.router else {
            return Verdict::Drop(Drop::Off);
        };
        let told = if source.is_unspecified() { ALL_NODES } else { source };
        self.advertisement(router, Life::Going, (arrival.header.source, told), out);
        Verdict::Answered(Answer::Router)
    }

    /// Appends an advertisement to everybody; false if the network has none.
    pub fn advertise(&self, life: Life, out: &mut Vec<u8>) -> bool {
        let Some(router) = &self.config.router else {
            return false;
        };
        self.advertisement(router, life, (ALL_NODES_MAC, ALL_NODES), out);
        true
    }

    fn advertisement(
        &self,
        router: &Router,
        life: Life,
        (to, told): (MacAddr, Ipv6Addr),
        out: &mut Vec<u8>,
    ) {
        let envelope = Envelope {
            to,
            from: self.config.mac,
            addresses: Addresses::V6 { source: self.link_local, destination: told },
            hop_limit: NO_ROUTER,
        };
        let lifetime = match life {
            Life::Going => router.lifetime_seconds,
            Life::Ceasing => 0,
        };
        let default_route = if self.config.leads_out { lifetime } else { 0 };
        write::packet(out, &envelope, ICMPV6, |out| {
            // "Other configuration" is to be had by DHCPv6.
            out.extend_from_slice(&[134, 0, 0, 0, HOP_LIMIT, 0x40]);
            out.extend_from_slice(&default_route.to_be_bytes());
            out.extend_from_slice(&[0; 8]);
            link_address(out, SOURCE_LINK_ADDRESS, self.config.mac.0);
            if self.config.mtu >= MIN_MTU {
                out.extend_from_slice(&[5, 1, 0, 0, 0, 0]);
                out.extend_from_slice(&self.config.mtu.to_be_bytes());
            }
            for subnet in &self.v6 {
                prefix(out, subnet, router);
            }
            self.names(out, lifetime);
        });
    }

    /// Appends who knows names, and where short ones are looked for.
    fn names(&self, out: &mut Vec<u8>, lifetime: u16) {
        if !self.config.dns {
            return;
        }
        let lifetime = u32::from(lifetime).to_be_bytes();
        out.extend_from_slice(&[25, 3, 0, 0]);
        out.extend_from_slice(&lifetime);
        out.extend_from_slice(&self.resolver_v6().octets());
        if self.search.len() > 1 {
            let units = (8 + self.search.len()).div_ceil(8);
            out.extend_from_slice(&[31, units as u8, 0, 0]);
            out.extend_from_slice(&lifetime);
            out.extend_from_slice(&self.search);
            out.resize(out.len() + 8 * units - 8 - self.search.len(), 0);
        }
    }

    /// The address that IPv6 guests ask for names.
    pub(super) fn resolver_v6(&self) -> Ipv6Addr {
        self.v6.first().map_or(self.link_local, Ipv6Network::ip)
    }
}

/// Appends a prefix: on the link, and for addresses of the guests' own where they may make some.
fn prefix(out: &mut Vec<u8>, subnet: &Ipv6Network, router: &Router) {
    const ON_LINK: u8 = 0x80;
    const AUTONOMOUS: u8 = 0x40;
    /// A day, and four hours; RFC 4861 §6.2.1 has 30 days and 7, for networks that last longer.
    const VALID_SECONDS: u32 = 86_400;
    const PREFERRED_SECONDS: u32 = 14_400;
    // The interface identifier has 64 bits on Ethernet (RFC 2464 §4).
    let makes_addresses = router.autonomous && subnet.prefix() == 64;
    let flags = if makes_addresses { ON_LINK | AUTONOMOUS } else { ON_LINK };
    out.extend_from_slice(&[3, 4, subnet.prefix(), flags]);
    out.extend_from_slice(&VALID_SECONDS.to_be_bytes());
    out.extend_from_slice(&PREFERRED_SECONDS.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&subnet.network().octets());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_advertisements_hurry_and_the_others_keep_random_distances() {
        let at = Instant::from_seconds;
        let mut schedule = Schedule::new(at(5));
        assert!(!schedule.is_due(at(4), 0));
        let steps = [
            // at, chance, when the next one is due
            (5, 0, 21),
            (21, u32::MAX, 37),
            (37, 0, 237),
            (240, 1 << 31, 640),
        ];
        for (now, chance, next) in steps {
            assert!(schedule.is_due(at(now), chance), "at {now}");
            assert!(!schedule.is_due(at(now), chance), "twice at {now}");
            assert_eq!(schedule.due(), at(next));
        }
        assert!(schedule.is_due(at(640), u32::MAX));
        assert!(schedule.due() < at(1240) && schedule.due() > at(1239));
    }
}
