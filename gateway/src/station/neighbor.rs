//! Neighbour discovery: who has the gateway's IPv6 address?
//!
//! Solicitations for the gateway's addresses are answered, also those by which a station asks
//! whether it may take one (duplicate address detection), which defends them.
//!
//! # Sources
//! RFC 4861 §7.1 (what is valid), §7.2.4 (what is answered), RFC 4862 §5.4 (duplicate address
//! detection), RFC 6085 (a group's packet to one station), RFC 6980 (no fragments).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::write::{self, ICMPV6};
use super::{ALL_NODES, Addresses, Answer, Arrival, Drop, Envelope, Station, Verdict};

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

/// The hop limit that proves that no router was on the way.
pub(super) const NO_ROUTER: u8 = 255;

/// The group that `address`'s owner listens to for solicitations (RFC 4291 §2.7.1).
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., g, h] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (g & 0xff), h)
}

impl Station {
    pub(super) fn neighbor_solicitation(
        &self,
        arrival: &Arrival<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let (addresses, target, options) = match arrival.neighbor_message() {
            Ok(parts) => parts,
            Err(reason) => return Verdict::Drop(reason),
        };
        let Addresses::V6 { source, destination } = addresses else {
            return Verdict::Drop(Drop::Malformed);
        };
        let is_probe = source.is_unspecified();
        let names_sender = has_option(options, SOURCE_LINK_ADDRESS);
        if is_probe && (destination != solicited_node(target) || names_sender) {
            return Verdict::Drop(Drop::Malformed);
        }
        if !self.owns_v6(target) {
            return Verdict::Drop(Drop::NotOurs);
        }
        // Everybody is told that the address is taken; but only the one who asks hears it, and
        // that suffices, as it is the only one that must not take it.
        let told = if is_probe { ALL_NODES } else { source };
        let envelope = Envelope {
            to: arrival.header.source,
            from: self.config.mac,
            addresses: Addresses::V6 { source: target, destination: told },
            hop_limit: NO_ROUTER,
        };
        write::packet(out, &envelope, ICMPV6, |out| {
            // A router, solicited unless it is a probe, override.
            let flags = if is_probe { 0xa0 } else { 0xe0 };
            let flags = if self.is_router() { flags } else { flags & 0x7f };
            out.extend_from_slice(&[136, 0, 0, 0, flags, 0, 0, 0]);
            out.extend_from_slice(&target.octets());
            link_address(out, TARGET_LINK_ADDRESS, self.config.mac.0);
        });
        Verdict::Answered(Answer::Neighbor)
    }

    /// Somebody tells of an address. Nothing is learned from it.
    pub(super) fn neighbor_advertisement(&self, arrival: &Arrival<'_>) -> Verdict {
        match arrival.neighbor_message() {
            Ok((_, target, _)) if self.owns_v6(target) => Verdict::Drop(Drop::Claim),
            Ok(_) => Verdict::Drop(Drop::Unsolicited),
            Err(reason) => Verdict::Drop(reason),
        }
    }
}

impl<'a> Arrival<'a> {
    /// The addresses, the target and the options of a solicitation or an advertisement of a
    /// neighbour, checked as RFC 4861 §7.1.1 and §7.1.2 say.
    fn neighbor_message(&self) -> Result<(Addresses, Ipv6Addr, &'a [u8]), Drop> {
        let addresses = self.check_discovery()?;
        let message = self.transport();
        let (target, options) = message
            .get(8..)
            .and_then(|rest| rest.split_first_chunk::<16>())
            .ok_or(Drop::Malformed)?;
        let target = Ipv6Addr::from(*target);
        if target.is_multicast() || !are_options(options) {
            return Err(Drop::Malformed);
        }
        Ok((addresses, target, options))
    }

    /// Checks what every message of neighbour discovery must be; its checksum was before.
    pub(super) fn check_discovery(&self) -> Result<Addresses, Drop> {
        if self.frame.get(self.packet.l3 + 7) != Some(&NO_ROUTER) {
            return Err(Drop::HopLimit);
        }
        match self.transport() {
            [_, 0, ..] => self.addresses().ok_or(Drop::Malformed),
            _ => Err(Drop::Malformed),
        }
    }
}

/// Whether `options` are whole, and none is empty, which would go on for ever.
pub(super) fn are_options(mut options: &[u8]) -> bool {
    while let [_, units, ..] = *options {
        let octets = 8 * usize::from(units);
        let Some(rest) = options.get(octets..).filter(|_| octets > 0) else {
            return false;
        };
        options = rest;
    }
    options.is_empty()
}

/// Whether there is an option of this kind among `options`, which are whole.
pub(super) fn has_option(mut options: &[u8], wanted: u8) -> bool {
    while let [kind, units, ..] = *options {
        if kind == wanted {
            return true;
        }
        options = options.get(8 * usize::from(units).max(1)..).unwrap_or_default();
    }
    false
}

/// Appends the option with a station's link-layer address.
pub(super) fn link_address(out: &mut Vec<u8>, kind: u8, mac: [u8; 6]) {
    out.extend_from_slice(&[kind, 1]);
    out.extend_from_slice(&mac);
}
