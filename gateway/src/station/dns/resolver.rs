//! Whose business a name is, and what it has.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::Name;
use domain::base::iana::{Rcode, Rtype};
use domain::base::message_builder::{AnswerBuilder, PushError};
use domain::rdata::{A, Aaaa, Ptr};
use ipnetwork::IpNetwork;

use super::forward::Pending;
use super::names::before;
use super::query::{Bad, Query, Target, refuse};
use super::reverse::Reverse;
use super::{MAX_ANSWERS, Names};
use crate::station::{Drop, Station};

/// The zone that is weft's own; `internal` is nobody's in the public tree.
const ZONE: &[u8] = b"\x04weft\x08internal\0";
const HOST: &[u8] = b"\x04host";
const GATEWAY: &[u8] = b"\x07gateway";
const LOCALHOST: &[u8] = b"\x09localhost\0";
const RESOLVER_ARPA: &[u8] = b"\x08resolver\x04arpa\0";

/// How long an answer about an endpoint may be kept: endpoints come and go.
const TTL_SECONDS: u32 = 5;

/// By which way a query came, and so how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By UDP; an answer has `room` in one packet at most ([`Return::room`]).
    ///
    /// [`Return::room`]: crate::station::Return::room
    Udp {
        /// The octets that fit one packet.
        room: usize,
    },
    /// By TCP.
    Tcp,
}

/// What is asked, and the chance that comes with it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The message.
    pub message: &'a [u8],
    /// How it came.
    pub transport: Transport,
    /// A random number: the identifier under which it is asked elsewhere (RFC 5452 §9.2).
    pub id: u16,
    /// A number that grows or is random: which of several addresses comes first.
    pub turn: u32,
}

/// What becomes of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Somebody else is to be asked [`Pending::query`].
    Forward(Pending),
    /// Nothing is said.
    Drop(Drop),
}

/// The resolver of one network.
#[derive(Clone, Debug)]
pub struct Resolver {
    /// The search domain as labels in lower case, the root's at the end.
    search: Vec<u8>,
    gateway: Vec<IpAddr>,
    host: Vec<IpAddr>,
    subnets: Vec<IpNetwork>,
}

/// What a name has.
enum Found<'a> {
    /// Addresses, of either family.
    Addresses(&'a [IpAddr]),
    /// A name.
    Name(Vec<u8>),
    /// Nothing, but there is such a name.
    Nothing,
    /// There is no such name.
    Nobody,
    /// It is somebody else's.
    Elsewhere,
}

impl Resolver {
    /// Makes the resolver that belongs to `station`; the host is reached by the addresses `host`.
    #[must_use]
    pub fn new(station: &Station, host: Vec<IpAddr>) -> Self {
        let config = station.config();
        Self {
            search: station.search.to_ascii_lowercase(),
            gateway: config.addresses.iter().map(IpNetwork::ip).collect(),
            host,
            subnets: config.addresses.clone(),
        }
    }

    /// Decides about one query of a sandbox that is on the networks of `names`, the nearest first.
    #[must_use]
    pub fn decide(&self, asked: &Asked<'_>, names: &[&Names]) -> Decision {
        let query = match Query::read(asked.message) {
            Ok(query) => query,
            Err(Bad::Drop(reason)) => return Decision::Drop(reason),
            Err(Bad::Refuse(rcode)) => return answered(refuse(asked.message, rcode)),
        };
        let limit = match asked.transport {
            Transport::Udp { room } => query.limit(room),
            Transport::Tcp => usize::from(u16::MAX),
        };
        let answer = match self.find(&query.key, names) {
            Found::Elsewhere => return Decision::Forward(Pending::new(&query, asked.id, limit)),
            Found::Nobody => query.answer(Rcode::NXDOMAIN, limit, |_| Ok(())),
            Found::Nothing => query.answer(Rcode::NOERROR, limit, |_| Ok(())),
            Found::Name(name) => {
                query.answer(Rcode::NOERROR, limit, |answer| push_name(&query, &name, answer))
            }
            Found::Addresses(addresses) => query.answer(Rcode::NOERROR, limit, |answer| {
                push_addresses(&query, addresses, asked.turn, answer)
            }),
        };
        answered(answer)
    }

    fn find<'a>(&'a self, key: &[u8], names: &[&'a Names]) -> Found<'a> {
        const SELF: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        if let Some(name) = before(key, ZONE) {
            match name {
                HOST if !self.host.is_empty() => return Found::Addresses(&self.host),
                GATEWAY => return Found::Addresses(&self.gateway),
                [] => return Found::Nothing,
                _ => {}
            }
        }
        for zone in [&self.search[..], ZONE, b"\0"] {
            let name = before(key, zone).filter(|name| !name.is_empty());
            let found = name.and_then(|name| names.iter().find_map(|all| all.addresses(name)));
            if let Some(addresses) = found {
                return Found::Addresses(addresses);
            }
        }
        if let Some(reverse) = Reverse::of(key) {
            return self.find_reverse(reverse, names);
        }
        if before(key, LOCALHOST).is_some() {
            return Found::Addresses(SELF);
        }
        if before(key, RESOLVER_ARPA).is_some() || key == self.search && is_own(key) {
            return Found::Nothing;
        }
        if is_own(key) { Found::Nobody } else { Found::Elsewhere }
    }

    fn find_reverse<'a>(&'a self, reverse: Reverse, names: &[&'a Names]) -> Found<'a> {
        let Reverse { address, bits } = reverse;
        if reverse.is_whole() {
            if self.gateway.contains(&address) {
                return Found::Name([GATEWAY, ZONE].concat());
            }
            if let Some(name) = names.iter().find_map(|names| names.name(address)) {
                let zone = if self.search.len() > 1 { &self.search[..] } else { ZONE };
                return Found::Name([name, zone].concat());
            }
        }
        let mut near = self.subnets.iter().filter(|subnet| subnet.prefix() <= bits);
        match near.any(|subnet| subnet.contains(address)) {
            true if reverse.is_whole() => Found::Nobody,
            true => Found::Nothing,
            false => Found::Elsewhere,
        }
    }
}

/// Whether a name is in the zone that is weft's own, where nobody else is asked.
fn is_own(key: &[u8]) -> bool {
    before(key, ZONE).is_some()
}

fn answered(answer: Option<Vec<u8>>) -> Decision {
    answer.map_or(Decision::Drop(Drop::DnsMalformed), Decision::Answer)
}

fn push_addresses(
    query: &Query<'_>,
    addresses: &[IpAddr],
    turn: u32,
    answer: &mut AnswerBuilder<Target>,
) -> Result<(), PushError> {
    let wants = |rtype| query.rtype == rtype || query.rtype == Rtype::ANY;
    let of_family = |address: &&IpAddr| match address {
        IpAddr::V4(_) => wants(Rtype::A),
        IpAddr::V6(_) => wants(Rtype::AAAA),
    };
    let count = addresses.iter().filter(of_family).count();
    let first = (turn as usize).checked_rem(count).unwrap_or(0);
    let turned = addresses.iter().filter(of_family).cycle().skip(first);
    for address in turned.take(count.min(MAX_ANSWERS)) {
        match address {
            IpAddr::V4(address) => answer.push((&query.name, TTL_SECONDS, A::new(*address)))?,
            IpAddr::V6(address) => answer.push((&query.name, TTL_SECONDS, Aaaa::new(*address)))?,
        }
    }
    Ok(())
}

fn push_name(
    query: &Query<'_>,
    name: &[u8],
    answer: &mut AnswerBuilder<Target>,
) -> Result<(), PushError> {
    let is_wanted = query.rtype == Rtype::PTR || query.rtype == Rtype::ANY;
    // A name that would be too long cannot be said; then there is none.
    match Name::from_slice(name) {
        Ok(name) if is_wanted => answer.push((&query.name, TTL_SECONDS, Ptr::new(name))),
        Ok(_) | Err(_) => Ok(()),
    }
}
