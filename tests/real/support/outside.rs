//! A host in a namespace of its own and an outside for it: another namespace, with servers.
//!
//! The host is 192.0.2.1 and 2001:db8::1, the outside 192.0.2.2 and 2001:db8::2.

use super::namespace::Namespace;
use super::program::{Program, Said};
use super::wait::eventually;
use super::world::World;

/// The outside of a test.
#[derive(Debug)]
pub struct Outside {
    host: Namespace,
    outside: Namespace,
    servers: std::cell::RefCell<Vec<Program>>,
}

/// Answers questions about names: every name has 192.0.2.2 and 2001:db8::2, but those that begin
/// with `no`.
const NAMES: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('192.0.2.2', 53))
print('up', flush=True)
while True:
    q, who = s.recvfrom(4096)
    end = q.index(b'\0', 12) + 5
    kind = struct.unpack('>H', q[end-4:end-2])[0]
    data = {1: bytes([192,0,2,2]), 28: socket.inet_pton(socket.AF_INET6, '2001:db8::2')}.get(kind)
    if q[13:15] == b'no':
        s.sendto(q[:2] + b'\x81\x83\0\1\0\0\0\0\0\0' + q[12:end], who)
    elif data is None:
        s.sendto(q[:2] + b'\x81\x80\0\1\0\0\0\0\0\0' + q[12:end], who)
    else:
        answer = b'\xc0\x0c' + struct.pack('>HHIH', kind, 1, 60, len(data)) + data
        s.sendto(q[:2] + b'\x81\x80\0\1\0\1\0\0\0\0' + q[12:end] + answer, who)
"#;

/// Answers each datagram with who sent it, a blank, and what it was.
pub const ECHO: &str = r#"
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM); s.bind((sys.argv[1], int(sys.argv[2])))
print('up', flush=True)
while True:
    octets, who = s.recvfrom(65536)
    s.sendto(('%s %d ' % who[:2]).encode() + octets, who)
"#;

impl World {
    /// Makes a host and its outside, and moves there.
    #[track_caller]
    pub fn outside(&self) -> Outside {
        let (host, outside) = (self.namespace("host"), self.namespace("outside"));
        let link = format!("ip link add u0 type veth peer name u0 netns {}", outside.name);
        host.run(&link).ok();
        for (namespace, number) in [(&host, 1), (&outside, 2)] {
            namespace.run("ip link set u0 up").ok();
            namespace.run(&format!("ip addr add 192.0.2.{number}/24 dev u0")).ok();
            namespace.run(&format!("ip addr add 2001:db8::{number}/64 dev u0 nodad")).ok();
        }
        host.run("ip route add default via 192.0.2.2").ok();
        host.run("ip route add default via 2001:db8::2").ok();
        // As on most systems, and not in a new namespace: everybody may ping.
        host.run("sysctl -qw 'net.ipv4.ping_group_range=0 2147483647'").ok();
        self.live_in(&host.name, "nameserver 192.0.2.2\n");
        Outside { host, outside, servers: Default::default() }
    }
}

impl Outside {
    /// Runs a program outside, to its end.
    #[track_caller]
    pub fn run(&self, line: &str) -> Said {
        self.outside.run(line)
    }

    /// Runs a program on the host, as root, to its end.
    #[track_caller]
    pub fn on_host(&self, line: &str) -> Said {
        self.host.run(line)
    }

    /// Starts a program outside and keeps it until the test ends.
    pub fn start(&self, line: &str) -> Program {
        self.outside.start(line)
    }

    /// Starts a server outside that prints `up` when it listens.
    #[track_caller]
    pub fn serve(&self, world: &World, script: &str, arguments: &str) {
        self.serve_in(world, &self.outside, script, arguments);
    }

    /// Starts a server on the host that prints `up` when it listens.
    #[track_caller]
    pub fn serve_on_host(&self, world: &World, script: &str, arguments: &str) {
        self.serve_in(world, &self.host, script, arguments);
    }

    #[track_caller]
    fn serve_in(&self, world: &World, place: &Namespace, script: &str, arguments: &str) {
        let name = format!("server-{}.py", self.servers.borrow().len());
        let path = world.write(&name, script);
        let mut server = place.start(&format!("python3 {} {arguments}", path.display()));
        server.wait_for("up");
        self.servers.borrow_mut().push(server);
    }

    /// Starts a resolver outside.
    #[track_caller]
    pub fn serve_names(&self, world: &World) {
        self.serve(world, NAMES, "");
    }

    /// Starts a UDP server outside that answers with who has sent what.
    #[track_caller]
    pub fn serve_echo(&self, world: &World, address: &str, port: u16) {
        self.serve(world, ECHO, &format!("{address} {port}"));
    }

    /// Starts a web server outside on port 80 of both addresses, with what is in `folder`.
    #[track_caller]
    pub fn serve_web(&self, folder: &std::path::Path) {
        let line = format!("python3 -m http.server --bind :: --directory {} 80", folder.display());
        let server = self.outside.start(&line);
        self.servers.borrow_mut().push(server);
        eventually("the web server listens", || {
            (!self.outside.run("ss -Hltn 'sport = :80'").ok().is_empty()).then_some(())
        });
    }
}
