//! Frames that real clients sent.

use std::fs;
use std::path::Path;

use weft_gateway::station::dns::Decision;
use weft_gateway::station::{Answer, Verdict};

use crate::frames::{handle, station};

/// Reads a frame from hexadecimal text; `#` begins a comment.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let octets = text.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace());
    octets.map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
}

/// Every vector, and what it is answered with; `None` for a query of names.
pub(crate) const VECTORS: [(&str, Option<Answer>); 13] = [
    ("dhclient_discover", Some(Answer::DhcpOffer)),
    ("dhclient_information_request", Some(Answer::Dhcp6Reply)),
    ("dhclient_request", Some(Answer::DhcpAck)),
    ("dig_a", None),
    ("dig_ptr_v6", None),
    ("linux_arp_request", Some(Answer::Arp)),
    ("linux_neighbor_solicitation", Some(Answer::Neighbor)),
    ("linux_router_solicitation", Some(Answer::Router)),
    ("ping_v4", Some(Answer::Echo)),
    ("ping_v6", Some(Answer::Echo)),
    ("rdisc6_router_solicitation", Some(Answer::Router)),
    ("udhcpc_discover", Some(Answer::DhcpOffer)),
    ("udhcpc_request", Some(Answer::DhcpAck)),
];

#[test]
fn what_real_clients_ask_is_answered() {
    for (name, answer) in VECTORS {
        let frame = vector(name);
        let (verdict, reply) = handle(&station(), &frame);
        match answer {
            Some(answer) => {
                assert_eq!(verdict, Verdict::Answered(answer), "{name}");
                assert!(!reply.is_empty(), "{name}");
            }
            None => {
                let Verdict::Resolve(packet) = verdict else { panic!("{name}: {verdict:?}") };
                let decision = crate::dns::decide(&frame[packet.payload..packet.end]);
                assert!(matches!(decision, Decision::Answer(_)), "{name}: {decision:?}");
            }
        }
    }
}

#[test]
fn a_vector_with_an_octet_changed_is_refused_or_answered_but_not_for_another() {
    // `handle` checks every answer; a checksum covers nearly every octet.
    let mut refused = 0;
    for (name, _) in VECTORS {
        let frame = vector(name);
        for at in 0..frame.len() {
            let mut changed = frame.clone();
            changed[at] ^= 0x55;
            let (verdict, _) = handle(&station(), &changed);
            refused += usize::from(matches!(verdict, Verdict::Drop(_)));
        }
        for len in 0..frame.len() {
            let (verdict, _) = handle(&station(), &frame[..len]);
            assert!(matches!(verdict, Verdict::Drop(_)), "{name} cut to {len}: {verdict:?}");
        }
    }
    assert!(refused > 1000, "{refused}");
}
