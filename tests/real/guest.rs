//! Another TCP/IP stack as the peer: smoltcp, behind the stream socket that QEMU would use.
//!
//! It verifies every checksum itself and drops what is wrong, so that a transfer that completes
//! has been right in every frame.

use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Moment;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use crate::support::{World, eventually};

as_both!(another_stack_sends_a_mebibyte_and_gets_it_back);

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x50];
/// How long one transfer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frames over a stream socket, each with its length in front.
struct Wire {
    stream: UnixStream,
    read: Vec<u8>,
    longest: usize,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut UnixStream);

impl Wire {
    /// The next whole frame, when it is there.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut octets = [0; 65_536];
        match self.stream.read(&mut octets) {
            Ok(len) => self.read.extend_from_slice(&octets[..len]),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
            }
        }
        let (prefix, rest) = self.read.split_first_chunk::<4>()?;
        let len = u32::from_be_bytes(*prefix) as usize;
        let frame = rest.get(..len)?.to_vec();
        self.read.drain(..4 + len);
        self.longest = self.longest.max(len);
        Some(frame)
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Moment) -> Option<(Received, Sending<'_>)> {
        let frame = self.frame()?;
        Some((Received(frame), Sending(&mut self.stream)))
    }

    fn transmit(&mut self, _: Moment) -> Option<Sending<'_>> {
        Some(Sending(&mut self.stream))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
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
        let mut frame = vec![0; 4 + len];
        frame[..4].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        let filled = fill(&mut frame[4..]);
        self.0.write_all(&frame).unwrap();
        filled
    }
}

/// The stack and its one connection.
struct Guest {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
    began: Instant,
}

impl Guest {
    fn new(stream: UnixStream, addresses: &[(IpAddr, u8)]) -> Self {
        // Reading waits for a moment, so that the loops below do not spin.
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut wire = Wire { stream, read: Vec::new(), longest: 0 };
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC)));
        let mut interface = Interface::new(config, &mut wire, Moment::from_millis(0));
        interface.update_ip_addrs(|own| {
            for (address, prefix) in addresses {
                own.push(IpCidr::new(IpAddress::from(*address), *prefix)).unwrap();
            }
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 18]);
        let mut sockets = SocketSet::new(Vec::new());
        let tcp = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Self { wire, interface, sockets, tcp, began: Instant::now() }
    }

    fn turn(&mut self) {
        let now = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        self.interface.poll(Moment::from_millis(now), &mut self.wire, &mut self.sockets);
    }

    /// Sends `octets` to an echo service and returns what comes back.
    fn echo(&mut self, to: IpAddr, port: u16, from: u16, octets: &[u8]) -> Vec<u8> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        socket.connect(self.interface.context(), (IpAddress::from(to), port), from).unwrap();
        let (mut sent, mut back) = (0, Vec::new());
        let end = Instant::now() + PATIENCE;
        loop {
            self.turn();
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
            if socket.can_send() && sent < octets.len() {
                sent += socket.send_slice(&octets[sent..]).unwrap();
                if sent == octets.len() {
                    socket.close();
                }
            }
            while socket.can_recv() {
                socket.recv(|part| (part.len(), back.extend_from_slice(part))).unwrap();
            }
            if back.len() >= octets.len() && !socket.is_active() {
                return back;
            }
            // The last of a closed connection lingers; a new one need not wait for it.
            if back.len() >= octets.len() && socket.state() == tcp::State::TimeWait {
                socket.abort();
            }
            assert!(
                Instant::now() < end,
                "{sent} sent, {} came back, {:?}",
                back.len(),
                socket.state()
            );
        }
    }
}

fn another_stack_sends_a_mebibyte_and_gets_it_back(world: &World) {
    let _up = world.up_with("[networks.six]\nsubnets = [\"10.201.0.0/24\", \"fd00:201::/64\"]\n");
    let socket = world.path("vm.sock");
    let line = format!(
        "attach --network six,ip=10.201.0.50,ip6=fd00:201::50,mac=02:00:00:00:00:50 --name vm \
         --qemu {}",
        socket.display()
    );
    let mut attach = world.start(&line);
    attach.wait_for("netdev");
    let script = "echo up; socat -t 60 TCP4-LISTEN:7,fork,reuseaddr EXEC:cat & \
                  exec socat -t 60 TCP6-LISTEN:8,ipv6only,fork,reuseaddr EXEC:cat";
    let _ann = world.program("ann", "--network six,ip=10.201.0.11,ip6=fd00:201::11", script, "up");
    world.wait_for_listener("ann", 7);
    world.wait_for_listener("ann", 8);
    let stream = eventually("the guest connects", || UnixStream::connect(&socket).ok());
    eventually("its port is there", || (world.ports().len() == 2).then_some(()));
    let addresses = [("10.201.0.50".parse().unwrap(), 24), ("fd00:201::50".parse().unwrap(), 64)];
    let mut guest = Guest::new(stream, &addresses);

    let sent: Vec<u8> =
        (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let back = guest.echo("10.201.0.11".parse().unwrap(), 7, 49_152, &sent);
    assert!(back == sent, "IPv4");
    let back = guest.echo("fd00:201::11".parse().unwrap(), 8, 49_153, &sent);
    assert!(back == sent, "IPv6");
    assert!(guest.wire.longest <= 1514, "a frame of {} octets", guest.wire.longest);
    for line in world.ports() {
        assert_eq!(line.received, line.forwarded + line.flooded + line.dropped, "{line:?}");
    }
    drop(attach);
    world.wait_until_gone("vm");
}
