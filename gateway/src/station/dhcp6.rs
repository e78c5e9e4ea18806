//! DHCPv6 without state: who knows names, for guests that make their addresses themselves.
//!
//! Only information requests are answered. A router advertisement says the same; this is for
//! clients that do not read it there.
//!
//! # Sources
//! RFC 8415 §16.12 (what is valid), §18.3.6 (the answer), §11.4 (who the server is); RFC 3646
//! (resolvers and search domains).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::write::{self, HOP_LIMIT};
use super::{Addresses, Answer, Arrival, DHCP6_SERVER, Drop, Envelope, Station, Verdict};

/// All DHCPv6 servers and relays on the link.
pub(super) const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

const CLIENT_PORT: u16 = 546;

const REPLY: u8 = 7;
const INFORMATION_REQUEST: u8 = 11;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const NON_TEMPORARY: u16 = 3;
const TEMPORARY: u16 = 4;
const REQUESTED: u16 = 6;
const PREFIXES: u16 = 25;
const DNS: u16 = 23;
const DOMAINS: u16 = 24;
const REFRESH: u16 = 32;

/// The longest identifier of a client (RFC 8415 §11.1), its type included.
const MAX_ID: usize = 130;
/// How long an answer holds (RFC 8415 §7.7 has the same).
const REFRESH_SECONDS: u32 = 86_400;

/// What is asked.
#[derive(Default)]
struct Request<'a> {
    client: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    /// The options that the client wants to be told, two octets each.
    requested: &'a [u8],
}

impl Station {
    /// A datagram to the port of the DHCPv6 server, for the gateway or a group it is in.
    pub(super) fn dhcp6(&self, arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Verdict {
        if self.config.router.is_none() {
            return Verdict::Drop(Drop::Off);
        }
        match self.inform(arrival, out) {
            Ok(()) => Verdict::Answered(Answer::Dhcp6Reply),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn inform(&self, arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Result<(), Drop> {
        arrival.check_datagram()?;
        let Some(Addresses::V6 { source, destination }) = arrival.addresses() else {
            return Err(Drop::Malformed);
        };
        let message = arrival.datagram().unwrap_or_default();
        let (header, options) = message.split_first_chunk::<4>().ok_or(Drop::DhcpMalformed)?;
        let [kind, transaction @ ..] = *header;
        // A request by unicast is discarded (RFC 8415 §16).
        if kind != INFORMATION_REQUEST || destination != ALL_SERVERS {
            return Err(Drop::DhcpUnserved);
        }
        if !source.is_unicast_link_local() {
            return Err(Drop::BadSource);
        }
        let request = Request::read(options)?;
        let own = self.identifier();
        if request.server.is_some_and(|server| server != own) {
            return Err(Drop::DhcpOtherServer);
        }
        let envelope = Envelope {
            to: arrival.header.source,
            from: self.config.mac,
            addresses: Addresses::V6 { source: self.link_local(), destination: source },
            hop_limit: HOP_LIMIT,
        };
        write::datagram(out, &envelope, (DHCP6_SERVER, CLIENT_PORT), |out| {
            out.push(REPLY);
            out.extend_from_slice(&transaction);
            option(out, SERVER_ID, &own);
            if let Some(client) = request.client {
                option(out, CLIENT_ID, client);
            }
            self.tell(&request, out);
        });
        Ok(())
    }

    fn tell(&self, request: &Request<'_>, out: &mut Vec<u8>) {
        if request.wants(DNS) && self.config.dns {
            option(out, DNS, &self.resolver_v6().octets());
        }
        if request.wants(DOMAINS) && self.config.dns && self.search.len() > 1 {
            option(out, DOMAINS, &self.search);
        }
        if request.wants(REFRESH) {
            option(out, REFRESH, &REFRESH_SECONDS.to_be_bytes());
        }
    }

    /// Who the server is: its hardware type and its MAC address.
    fn identifier(&self) -> [u8; 10] {
        let [a, b, c, d, e, f] = self.config.mac.0;
        [0, 3, 0, 1, a, b, c, d, e, f]
    }
}

impl<'a> Request<'a> {
    fn read(mut options: &'a [u8]) -> Result<Self, Drop> {
        let mut request = Self::default();
        while let Some((&[k0, k1, l0, l1], rest)) = options.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let (data, after) = rest.split_at_checked(length).ok_or(Drop::DhcpMalformed)?;
            options = after;
            match u16::from_be_bytes([k0, k1]) {
                CLIENT_ID if data.len() > MAX_ID => return Err(Drop::DhcpMalformed),
                CLIENT_ID => request.client = Some(data),
                SERVER_ID => request.server = Some(data),
                REQUESTED => request.requested = data,
                NON_TEMPORARY | TEMPORARY | PREFIXES => return Err(Drop::DhcpMalformed),
                _ => {}
            }
        }
        if options.is_empty() { Ok(request) } else { Err(Drop::DhcpMalformed) }
    }

    fn wants(&self, option: u16) -> bool {
        let (codes, _) = self.requested.as_chunks::<2>();
        codes.contains(&option.to_be_bytes())
    }
}

fn option(out: &mut Vec<u8>, kind: u16, data: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}
