//! What the network says about a guest's datagrams and echo requests, told to the guest.
//!
//! The guest hears it from whoever said it, as a host in our place would have: a closed port, a
//! router that gave up (which is how routes are traced), a path that is too narrow.

use std::net::IpAddr;
use std::os::fd::AsFd;

use weft_gateway::flow::packet::{self, HOPS};
use weft_gateway::flow::{Key, Token};
use weft_gateway::station::errors::{self, Error};
use weft_gateway::station::{Addresses, Envelope};

use super::Turn;
use super::flows::{Flow, Flows};
use crate::sys::fault::{Fault, next_fault};

/// Faults of one flow that are told of at once.
const BUDGET: usize = 16;
/// What is kept of a datagram to be quoted.
const QUOTE: usize = 512;

impl Flows {
    /// Tells the guest what the network said about what this flow has sent.
    pub(super) fn tell_faults(&mut self, token: Token, turn: &mut Turn<'_>) {
        for _ in 0..BUDGET {
            let Some((key, flow)) = self.table.get_mut(token) else { return };
            let (key, guest) = (*key, flow.guest());
            let mut octets = [0; QUOTE];
            let Ok(Some(fault)) = next_fault(flow.socket().as_fd(), &mut octets) else { return };
            let Some(error) = error(&fault) else { continue };
            let Some(destination) = fault.destination else { continue };
            let seen = match flow {
                Flow::Udp(flow) => flow.seen_inside(destination, turn),
                Flow::Echo(_) => Some(destination),
                Flow::Tcp(_) | Flow::Names(_) | Flow::Door(_) => None,
            };
            let Some(seen) = seen else { continue };
            let mut quote = Vec::with_capacity(QUOTE + 64);
            let sent = &mut octets[..fault.len];
            match key {
                Key::Udp { inside } => packet::quote_udp(inside, seen, sent, &mut quote),
                Key::Echo { inside, identifier } => {
                    if let Some(field) = sent.get_mut(4..6) {
                        field.copy_from_slice(&identifier.to_be_bytes());
                    }
                    packet::quote_icmp(inside, seen.ip(), sent, &mut quote);
                }
                Key::Tcp { .. } | Key::Names { .. } | Key::Door { .. } => continue,
            }
            let teller = teller(&fault, seen.ip(), destination.ip(), turn);
            let Some(addresses) = teller.and_then(|from| Addresses::new(from, key.inside())) else {
                continue;
            };
            if !turn.who.errors.allow(turn.moment()) {
                continue;
            }
            let from = turn.gateway.station.config().mac;
            self.said.clear();
            let envelope = Envelope { to: guest, from, addresses, hop_limit: HOPS };
            errors::write(&envelope, error, &quote, &mut self.said);
            turn.say(&self.said);
        }
    }
}

/// Who the guest hears it from: whoever said it, the gateway where that was this host.
fn teller(fault: &Fault, seen: IpAddr, destination: IpAddr, turn: &Turn<'_>) -> Option<IpAddr> {
    match fault.offender {
        Some(offender) if offender == destination => Some(seen),
        Some(offender) if turn.gateway.policy.admits(offender) => Some(offender),
        Some(_) | None => turn.gateway.station.address_towards(seen),
    }
}

/// What the guest is told; nothing about what is no news to it.
fn error(fault: &Fault) -> Option<Error> {
    let is_v4 = fault.destination.is_some_and(|destination| destination.is_ipv4());
    let mtu = u16::try_from(fault.info).unwrap_or(u16::MAX);
    match (fault.icmp, is_v4) {
        (None, _) if fault.errno == libc::EMSGSIZE => Some(Error::TooBig { mtu }),
        (None, _) => None,
        (Some((3, code)), true) => Some(match code {
            1 | 7 | 12 => Error::HostUnreachable,
            2 => Error::ProtocolUnreachable,
            3 => Error::PortUnreachable,
            4 => Error::TooBig { mtu },
            9 | 10 | 13 => Error::Prohibited,
            _ => Error::NetworkUnreachable,
        }),
        (Some((11, 0)), true) => Some(Error::TimeExceeded),
        (Some((11, _)), true) => Some(Error::ReassemblyTimeExceeded),
        (Some((1, code)), false) => Some(match code {
            1 | 5 | 6 => Error::Prohibited,
            3 => Error::HostUnreachable,
            4 => Error::PortUnreachable,
            _ => Error::NetworkUnreachable,
        }),
        (Some((2, _)), false) => Some(Error::TooBig { mtu }),
        (Some((3, 0)), false) => Some(Error::TimeExceeded),
        (Some((3, _)), false) => Some(Error::ReassemblyTimeExceeded),
        (Some((4, 1)), false) => Some(Error::ProtocolUnreachable),
        (Some(_), _) => None,
    }
}
