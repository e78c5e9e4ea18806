//! A guest that is neither ours nor Linux: smoltcp configures itself, finds the gateway, and asks.

use std::collections::VecDeque;
use std::net::IpAddr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, icmp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv6Packet, IpCidr};
use weft_gateway::station::dns::Decision;
use weft_gateway::station::{Return, Station, Verdict};

use crate::frames::*;

/// A wire whose other end is the gateway.
struct Wire {
    station: Station,
    towards_guest: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut Wire);

impl Wire {
    fn send(&mut self, frame: &[u8]) {
        let (verdict, answer) = handle(&self.station, frame);
        if !answer.is_empty() {
            self.towards_guest.push_back(answer);
        }
        if let Verdict::Resolve(packet) = verdict {
            let way = Return::of(frame, &packet).unwrap();
            let query = &frame[packet.payload..packet.end];
            if let Decision::Answer(answer) = crate::dns::decide(query) {
                let mut out = Vec::new();
                assert!(way.write(&self.station, &answer, &mut out));
                self.towards_guest.push_back(out);
            }
        }
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.towards_guest.pop_front()?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = usize::from(MTU) + 14;
        capabilities
    }
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.send(&frame);
        result
    }
}

struct Guest {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    now: Instant,
}

impl Guest {
    fn new(addresses: &[&str]) -> Self {
        let mut wire = Wire { station: station(), towards_guest: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(GUEST.0)));
        // smoltcp looks for routers from its link-local address, and insists on having one.
        config.slaac = addresses.iter().any(|address| address.starts_with("fe80:"));
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|own| {
            for address in addresses {
                own.push(address.parse::<IpCidr>().unwrap()).unwrap();
            }
        });
        Self { wire, interface, sockets: SocketSet::new(Vec::new()), now: Instant::ZERO }
    }

    /// Lets a tenth of a second pass, at most a hundred times, until `done` finds what it wants.
    fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..100 {
            self.now += smoltcp::time::Duration::from_millis(100);
            self.interface.poll(self.now, &mut self.wire, &mut self.sockets);
            if let Some(found) = done(self) {
                return found;
            }
        }
        panic!("nothing in ten seconds")
    }

    fn ping(&mut self, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let buffer =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 2048]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(7)).unwrap();
        let handle = self.sockets.add(socket);
        let payload = vec![9; 1000];
        let socket = self.sockets.get_mut::<icmp::Socket>(handle);
        let caps = smoltcp::phy::ChecksumCapabilities::default();
        let (ident, seq_no, data) = (7, 1, &payload[..]);
        let message = socket.send(8 + payload.len(), to.into()).unwrap();
        match (from, to) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let echo = smoltcp::wire::Icmpv6Repr::EchoRequest { ident, seq_no, data };
                echo.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(message), &caps);
            }
            _ => {
                let echo = smoltcp::wire::Icmpv4Repr::EchoRequest { ident, seq_no, data };
                echo.emit(&mut Icmpv4Packet::new_unchecked(message), &caps);
            }
        }
        self.until(|guest| {
            let socket = guest.sockets.get_mut::<icmp::Socket>(handle);
            socket.recv().ok().map(|(message, from)| {
                assert_eq!(IpAddr::from(from), to);
                message[8..].to_vec()
            })
        })
    }

    fn ask(&mut self, server: IpAddr, query: &[u8]) -> Vec<u8> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 2048]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(4000).unwrap();
        let handle: SocketHandle = self.sockets.add(socket);
        self.sockets.get_mut::<udp::Socket>(handle).send_slice(query, (server, 53)).unwrap();
        let answer = self.until(|guest| {
            let socket = guest.sockets.get_mut::<udp::Socket>(handle);
            socket.recv().ok().map(|(answer, _)| answer.to_vec())
        });
        self.sockets.remove(handle);
        answer
    }
}

#[test]
fn it_gets_its_lease_and_finds_the_gateway() {
    let mut guest = Guest::new(&[]);
    let handle = guest.sockets.add(dhcpv4::Socket::new());
    let (address, router, servers) =
        guest.until(|guest| match guest.sockets.get_mut::<dhcpv4::Socket>(handle).poll()? {
            dhcpv4::Event::Configured(got) => {
                Some((got.address, got.router, got.dns_servers.to_vec()))
            }
            dhcpv4::Event::Deconfigured => None,
        });
    assert_eq!((address.address(), address.prefix_len()), (GUEST_V4, 24));
    assert_eq!((router, servers), (Some(GATEWAY_V4), vec![GATEWAY_V4]));
    guest.interface.update_ip_addrs(|own| own.push(IpCidr::Ipv4(address)).unwrap());
    assert_eq!(guest.ping(GUEST_V4.into(), GATEWAY_V4.into()), vec![9; 1000]);
}

#[test]
fn it_makes_itself_an_address_of_what_the_router_advertises() {
    let link_local = format!("{}/64", GUEST.link_local());
    let mut guest = Guest::new(&[&link_local]);
    let address = guest.until(|guest| {
        let global = |cidr: &&IpCidr| cidr.to_string().starts_with("fd09:");
        guest.interface.ip_addrs().iter().find(global).map(|cidr| cidr.address())
    });
    assert_eq!(address.to_string(), "fd09::ff:fe00:7");
    assert_eq!(guest.ping(address.into(), GATEWAY_V6.into()), vec![9; 1000]);
    let own = GUEST.link_local().into();
    assert_eq!(guest.ping(own, GATEWAY.link_local().into()), vec![9; 1000]);
}

#[test]
fn it_asks_for_names_in_both_families() {
    let mut guest = Guest::new(&["10.9.0.7/24", "fd09::7/64"]);
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02db\0\0\x01\0\x01";
    for server in [GATEWAY_V4.into(), GATEWAY_V6.into()] {
        let answer = guest.ask(server, query);
        assert_eq!(answer[..2], [0x12, 0x34]);
        assert!(answer.ends_with(&[0, 4, 10, 9, 0, 8]), "{answer:02x?}");
    }
}
