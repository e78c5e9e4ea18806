//! ARP: who has the gateway's address?
//!
//! Requests for the gateway's addresses are answered, probes among them (RFC 5227), which defends
//! the addresses. Nothing is learned: whoever claims one of them for itself is counted and no more.
//!
//! # Sources
//! RFC 826, RFC 5227.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use weft_frame::{EtherType, Header, MacAddr};

use super::{Answer, Drop, Station, Verdict, write};

/// Ethernet, IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

impl Station {
    pub(super) fn arp(&self, frame: &[u8], header: &Header, out: &mut Vec<u8>) -> Verdict {
        let Some(message) = frame.get(header.payload..).and_then(<[u8]>::first_chunk::<28>) else {
            return Verdict::Drop(Drop::Malformed);
        };
        let [h0, h1, p0, p1, hl, pl, o0, o1, rest @ ..] = *message;
        let [a, b, c, d, e, f, s0, s1, s2, s3, _, _, _, _, _, _, t0, t1, t2, t3] = rest;
        let sender_mac = MacAddr([a, b, c, d, e, f]);
        let (sender, target) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(t0, t1, t2, t3));
        if [h0, h1, p0, p1, hl, pl] != ETHERNET_IPV4 || sender_mac != header.source {
            return Verdict::Drop(Drop::Malformed);
        }
        if self.owns(sender.into()) {
            return Verdict::Drop(Drop::Claim);
        }
        match [o0, o1] {
            REQUEST if self.owns(target.into()) => {}
            REQUEST => return Verdict::Drop(Drop::NotOurs),
            REPLY => return Verdict::Drop(Drop::Unsolicited),
            _ => return Verdict::Drop(Drop::Malformed),
        }
        write::ethernet(out, sender_mac, self.config.mac, EtherType::ARP);
        out.extend_from_slice(&ETHERNET_IPV4);
        out.extend_from_slice(&REPLY);
        out.extend_from_slice(&self.config.mac.0);
        out.extend_from_slice(&target.octets());
        out.extend_from_slice(&sender_mac.0);
        out.extend_from_slice(&sender.octets());
        Verdict::Answered(Answer::Arp)
    }
}
