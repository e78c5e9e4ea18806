//! ICMP and ICMPv6 messages to the gateway: echo is answered, the rest passed on or counted.
//!
//! # Sources
//! RFC 792, RFC 1122 §3.2.2.6 (echo), RFC 4443 §4 (echo in IPv6).

use alloc::vec::Vec;

use weft_frame::checksum::Sum;

use super::write::{self, HOP_LIMIT, ICMP, ICMPV6};
use super::{Addresses, Answer, Arrival, Drop, Envelope, Station, Verdict};

/// The octets of an echo message before its payload.
const ECHO_LEN: usize = 8;

impl Station {
    /// An ICMP message for one of the gateway's addresses.
    pub(super) fn icmp_v4(&self, arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Verdict {
        const ECHO_REPLY: u8 = 0;
        const UNREACHABLE: u8 = 3;
        const ECHO: u8 = 8;
        const TIME_EXCEEDED: u8 = 11;
        const PARAMETER: u8 = 12;
        if arrival.packet.is_fragment {
            return Verdict::Drop(Drop::Fragment);
        }
        if !Sum::of(arrival.transport()).is_valid() {
            return Verdict::Drop(Drop::Checksum);
        }
        match arrival.transport() {
            [ECHO, 0, _, _, rest @ ..] => self.echo(arrival, ECHO_REPLY, rest, out),
            [UNREACHABLE | TIME_EXCEEDED | PARAMETER, _, _, _, ..] => {
                Verdict::Local(arrival.packet)
            }
            [_, _, _, _, ..] => Verdict::Drop(Drop::IcmpType),
            _ => Verdict::Drop(Drop::Malformed),
        }
    }

    /// An ICMPv6 message for one of the gateway's addresses or groups.
    pub(super) fn icmp_v6(&self, arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Verdict {
        const ECHO: u8 = 128;
        const ECHO_REPLY: u8 = 129;
        const ROUTER_SOLICITATION: u8 = 133;
        const ROUTER_ADVERTISEMENT: u8 = 134;
        const NEIGHBOR_SOLICITATION: u8 = 135;
        const NEIGHBOR_ADVERTISEMENT: u8 = 136;
        const REDIRECT: u8 = 137;
        if arrival.packet.is_fragment {
            return Verdict::Drop(Drop::Fragment);
        }
        let transport = arrival.transport();
        let &[kind, code, ..] = transport else {
            return Verdict::Drop(Drop::Malformed);
        };
        let length = transport.len().min(usize::from(u16::MAX)) as u16;
        let pseudo = arrival.packet.pseudo_header(arrival.frame, length).unwrap_or_default();
        if !(pseudo + Sum::of(transport)).is_valid() {
            return Verdict::Drop(Drop::Checksum);
        }
        // Errors (RFC 4443 §2.1) to a group are nobody's.
        if (1..=4).contains(&kind) && !arrival.header.destination.is_group() {
            return Verdict::Local(arrival.packet);
        }
        if arrival.packet.has_options {
            return Verdict::Drop(Drop::Options);
        }
        match (kind, code) {
            (ECHO, 0) => match transport.get(4..) {
                Some(rest) => self.echo(arrival, ECHO_REPLY, rest, out),
                None => Verdict::Drop(Drop::Malformed),
            },
            (ROUTER_SOLICITATION, _) => self.router_solicitation(arrival, out),
            (NEIGHBOR_SOLICITATION, _) => self.neighbor_solicitation(arrival, out),
            (NEIGHBOR_ADVERTISEMENT, _) => self.neighbor_advertisement(arrival),
            (ROUTER_ADVERTISEMENT | REDIRECT, _) => Verdict::Drop(Drop::RogueRouter),
            _ => Verdict::Drop(Drop::IcmpType),
        }
    }

    /// Answers an echo request; `rest` is its identifier, its number and its payload.
    fn echo(&self, arrival: &Arrival<'_>, kind: u8, rest: &[u8], out: &mut Vec<u8>) -> Verdict {
        let Some(asked) = arrival.addresses() else {
            return Verdict::Drop(Drop::Malformed);
        };
        if arrival.header.destination.is_group() && asked.destination().is_ipv4() {
            return Verdict::Drop(Drop::LinkBroadcast);
        }
        if asked.source().is_unspecified() {
            return Verdict::Drop(Drop::BadSource);
        }
        // Martians of IPv4 were dropped before. A group of IPv6 is answered from an address.
        let from = if asked.destination().is_multicast() {
            self.address_towards(asked.source())
        } else {
            Some(asked.destination())
        };
        let Some(addresses) = from.and_then(|from| Addresses::new(from, asked.source())) else {
            return Verdict::Drop(Drop::NoAddress);
        };
        let len = addresses.header_len() + ECHO_LEN - 4 + rest.len();
        if rest.len() < 4 {
            return Verdict::Drop(Drop::Malformed);
        }
        if len > usize::from(self.config.mtu) {
            return Verdict::Drop(Drop::TooBig);
        }
        let envelope = Envelope {
            to: arrival.header.source,
            from: self.config.mac,
            addresses,
            hop_limit: HOP_LIMIT,
        };
        let protocol = if addresses.source().is_ipv4() { ICMP } else { ICMPV6 };
        write::packet(out, &envelope, protocol, |out| {
            out.extend_from_slice(&[kind, 0, 0, 0]);
            out.extend_from_slice(rest);
        });
        Verdict::Answered(Answer::Echo)
    }
}
