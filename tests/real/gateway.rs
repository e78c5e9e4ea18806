//! The way out: guests of a host in a namespace, and an outside in another.

use crate::support::namespace::Namespace;
use crate::support::outside::{ECHO, Outside};
use crate::support::{Program, World, eventually};

/// Networks with a way out, one with none, and one from which the host can be reached.
const NETWORKS: &str = "
    [networks.blue]
    subnets = [\"10.201.0.0/24\", \"fd00:201::/64\"]
    [networks.green]
    subnets = [\"10.202.0.0/24\"]
    [networks.closed]
    subnets = [\"10.203.0.0/24\", \"fd00:203::/64\"]
    internal = true
    [networks.home]
    subnets = [\"10.204.0.0/24\", \"fd00:204::/64\"]
    options = { host-access = \"allow\" }
";

as_both!(
    a_program_fetches_a_page_by_name,
    a_large_file_comes_whole_both_ways,
    datagrams_come_back_to_whom_they_are_for,
    an_outside_host_answers_pings,
    what_the_outside_refuses_is_refused_inside,
    a_route_can_be_traced,
    a_narrow_path_is_found,
    an_internal_network_has_no_way_out,
    the_host_itself_is_reached_only_where_that_is_allowed,
    other_networks_are_not_reached_through_the_gateway,
    neighbours_are_found_by_name_over_the_gateway,
);

/// Runs a shell script in a sandbox of its own to its end.
#[track_caller]
fn run(world: &World, network: &str, script: &str) -> crate::support::program::Said {
    let mut command = world.weft_command(&format!("run --network {network} -- bash -c"));
    command.arg(script);
    Program::start(command).end()
}

fn a_program_fetches_a_page_by_name(world: &World) {
    let outside = world.outside();
    outside.serve_names(world);
    world.write("index.html", "hello\n");
    outside.serve_web(&world.path(""));
    let _up = world.up_with(NETWORKS);
    for url in ["http://192.0.2.2/", "http://[2001:db8::2]/", "http://www.example.test/"] {
        let said = run(world, "blue", &format!("curl -sS -m 20 {url}index.html"));
        assert_eq!(said.ok(), "hello\n", "{url}");
    }
    let said = run(world, "blue", "curl -sS -m 20 http://no.example.test/");
    assert_eq!(said.code, 6, "{said:?}");
}

fn a_large_file_comes_whole_both_ways(world: &World) {
    let outside = world.outside();
    let _up = world.up_with(NETWORKS);
    world.host("dd if=/dev/urandom of=large bs=1M count=64").ok();
    let sum = world.host("sha256sum large").ok();
    let (sum, large) = (&sum[..64], world.path("large"));
    for address in ["192.0.2.2", "[2001:db8::2]"] {
        let listen =
            format!("socat -u OPEN:{} TCP6-LISTEN:9000,ipv6only=0,reuseaddr", large.display());
        let _server = outside.start(&listen);
        wait_for_listener(&outside, 9000);
        let said = run(world, "blue", &format!("socat -u TCP:{address}:9000 - | sha256sum"));
        assert_eq!(&said.ok()[..64], sum, "from {address}");

        let server =
            outside.start("sh -c 'socat -u TCP6-LISTEN:9001,ipv6only=0,reuseaddr - | sha256sum'");
        wait_for_listener(&outside, 9001);
        // It says that it has no more and waits until it has been read.
        let send = format!("socat -t 30 - TCP:{address}:9001 < {}", large.display());
        run(world, "blue", &send).ok();
        assert_eq!(&server.end().ok()[..64], sum, "to {address}");
    }
}

fn wait_for_listener(outside: &Outside, port: u16) {
    eventually("the server listens", || {
        let line = format!("ss -Hltn 'sport = :{port}'");
        (!outside.run(&line).ok().is_empty()).then_some(())
    });
}

fn datagrams_come_back_to_whom_they_are_for(world: &World) {
    let outside = world.outside();
    outside.serve_echo(world, "192.0.2.2", 7000);
    outside.serve_echo(world, "192.0.2.2", 7001);
    outside.serve_echo(world, "2001:db8::2", 7000);
    let _up = world.up_with(NETWORKS);
    let script = "
import socket
for family, address, host in [(socket.AF_INET, '192.0.2.2', '192.0.2.1'),
                              (socket.AF_INET6, '2001:db8::2', '2001:db8::1')]:
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(10)
    seen = set()
    for port in (7000, 7001) if family == socket.AF_INET else (7000,):
        for size in (0, 1, 1400):
            s.sendto(b'x' * size, (address, port))
            octets, who = s.recvfrom(65536)
            assert who[:2] == (address, port), who
            seen_as, seen_port, payload = octets.split(b' ', 2)
            assert payload == b'x' * size and seen_as.decode() == host, octets
            seen.add(seen_port)
    # One socket inside is one socket outside, whoever it speaks to.
    assert len(seen) == 1, seen
print('fine')
";
    world.write("datagrams.py", script);
    let said = run(world, "blue", "python3 datagrams.py");
    assert_eq!(said.ok(), "fine\n");
}

fn an_outside_host_answers_pings(world: &World) {
    let _outside = world.outside();
    let _up = world.up_with(NETWORKS);
    for address in ["192.0.2.2", "2001:db8::2"] {
        for size in [0, 56, 1400] {
            let line = format!("ping -c 2 -i 0.1 -W 5 -s {size} {address}");
            let said = run(world, "blue", &line).ok();
            assert!(said.contains(" 0% packet loss"), "{said}");
        }
    }
}

fn what_the_outside_refuses_is_refused_inside(world: &World) {
    let outside = world.outside();
    outside.run("ip route add unreachable 198.51.100.0/24").ok();
    outside.run("sysctl -qw net.ipv4.ip_forward=1").ok();
    let _up = world.up_with(NETWORKS);
    let script = "
import errno, socket, sys
def fate(family, kind, address, port):
    s = socket.socket(family, kind); s.settimeout(10)
    try:
        s.connect((address, port))
        if kind == socket.SOCK_DGRAM:
            s.send(b'x'); s.recv(1)
        return 'accepted'
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
v4, v6, tcp, udp = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
print(fate(v4, tcp, '192.0.2.2', 81), fate(v6, tcp, '2001:db8::2', 81),
      fate(v4, tcp, '198.51.100.1', 80), fate(v4, tcp, '192.0.2.99', 80))
";
    world.write("fate.py", script);
    let said = run(world, "blue", "python3 fate.py");
    assert_eq!(said.ok(), "ECONNREFUSED ECONNREFUSED EHOSTUNREACH EHOSTUNREACH\n");
}

/// Puts another network behind the outside, over a link of this MTU.
fn far_away(world: &World, outside: &Outside, mtu: u16) -> Namespace {
    let far = world.namespace("far");
    outside.run(&format!("ip link add u1 type veth peer name u0 netns {}", far.name)).ok();
    for line in ["ip addr add 198.51.100.1/24 dev u1", "ip link set u1 up"] {
        outside.run(line).ok();
    }
    outside.run(&format!("ip link set u1 mtu {mtu}")).ok();
    outside.run("sysctl -qw net.ipv4.ip_forward=1").ok();
    for line in ["ip addr add 198.51.100.2/24 dev u0", "ip link set u0 up"] {
        far.run(line).ok();
    }
    far.run(&format!("ip link set u0 mtu {mtu}")).ok();
    far.run("ip route add default via 198.51.100.1").ok();
    far
}

fn a_route_can_be_traced(world: &World) {
    let outside = world.outside();
    let _far = far_away(world, &outside, 1500);
    let _up = world.up_with(NETWORKS);
    let ping = |hops: u8| run(world, "blue", &format!("ping -c 1 -W 5 -t {hops} 198.51.100.2")).out;
    assert!(ping(1).contains("From 10.201.0.1 icmp_seq=1 Time to live exceeded"), "{}", ping(1));
    assert!(ping(2).contains("From 192.0.2.2 icmp_seq=1 Time to live exceeded"), "{}", ping(2));
    assert!(ping(3).contains("bytes from 198.51.100.2"), "{}", ping(3));
    let script = "
import errno, socket, struct
def ask(hops):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
    s.setsockopt(socket.IPPROTO_IP, 11, 1); s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
    s.connect(('198.51.100.2', 33434)); s.send(b'x')
    try:
        s.recv(1)
    except OSError as e:
        error = errno.errorcode[e.errno]
    _, control, _, _ = s.recvmsg(100, 512, socket.MSG_ERRQUEUE)
    return error, socket.inet_ntoa(control[0][2][20:24])
print(ask(1), ask(2), ask(3))
";
    world.write("trace.py", script);
    let said = run(world, "blue", "python3 trace.py").ok();
    let expected = "('EHOSTUNREACH', '10.201.0.1') ('EHOSTUNREACH', '192.0.2.2') \
                    ('ECONNREFUSED', '198.51.100.2')\n";
    assert_eq!(said, expected);
}

fn a_narrow_path_is_found(world: &World) {
    let outside = world.outside();
    let far = far_away(world, &outside, 1300);
    let path = world.write("echo.py", ECHO);
    let mut server = far.start(&format!("python3 {} 198.51.100.2 7000", path.display()));
    server.wait_for("up");
    let _up = world.up_with(NETWORKS);
    let script = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
s.connect(('198.51.100.2', 7000))
s.setsockopt(socket.IPPROTO_IP, 10, 2) # IP_MTU_DISCOVER, always
refused = 0
for _ in range(20):
    try:
        s.send(b'x' * 1400); s.recv(2000)
    except OSError as e:
        refused += 1
    if s.getsockopt(socket.IPPROTO_IP, 14) == 1300:
        break
print(refused > 0, s.getsockopt(socket.IPPROTO_IP, 14)) # IP_MTU
s.send(b'x' * 1272); print(len(s.recv(2000)) > 1200)
";
    world.write("narrow.py", script);
    let said = run(world, "blue", "timeout 30 python3 narrow.py").ok();
    assert_eq!(said, "True 1300\nTrue\n");
}

fn an_internal_network_has_no_way_out(world: &World) {
    let outside = world.outside();
    outside.serve_names(world);
    let _up = world.up_with(NETWORKS);
    let script = "ip route; ip -6 route show default; \
                  ip route add default via 10.203.0.1; ping -c 1 -W 1 192.0.2.2; \
                  getent hosts www.example.test; echo $?";
    let said = run(world, "closed", script).ok();
    assert!(!said.contains("default via"), "{said}");
    assert!(!said.contains("bytes from 192.0.2.2"), "{said}");
    assert!(said.ends_with("\n2\n"), "{said}");
}

fn the_host_itself_is_reached_only_where_that_is_allowed(world: &World) {
    let outside = world.outside();
    let server = "
import socket, sys, threading
def serve(family, address):
    s = socket.create_server((address, 8000), family=family)
    def loop():
        while True:
            c, _ = s.accept(); c.sendall(b'home'); c.close()
    threading.Thread(target=loop).start()
serve(socket.AF_INET, '127.0.0.1'); serve(socket.AF_INET6, '::1')
print('up', flush=True)
";
    outside.serve_on_host(world, server, "");
    let _up = world.up_with(NETWORKS);
    let get = |network: &str, address: &str| {
        let line = format!("socat -T 5 - TCP:{address}:8000,connect-timeout=5 </dev/null");
        run(world, network, &line).out
    };
    let cases = [
        ("blue", "10.201.0.1", ""),
        ("blue", "[fd00:201::1]", ""),
        ("home", "10.204.0.1", "home"),
        ("home", "[fd00:204::1]", "home"),
        ("home", "host.weft.internal", "home"),
    ];
    for (network, address, expected) in cases {
        assert_eq!(get(network, address), expected, "{address} from {network}");
    }
    let script = "ip route add 127.1.0.0/16 via 10.201.0.1 2>/dev/null; \
                  sysctl -qw net.ipv4.conf.all.route_localnet=1 2>/dev/null; \
                  socat -T 5 - TCP:127.1.0.1:8000,connect-timeout=5 </dev/null";
    assert_eq!(run(world, "blue", script).out, "");
}

fn other_networks_are_not_reached_through_the_gateway(world: &World) {
    let _outside = world.outside();
    let _up = world.up_with(NETWORKS);
    let _server = world.program(
        "server",
        "--network green,ip=10.202.0.9",
        "python3 -u -m http.server 80",
        "Serving",
    );
    let said = run(world, "blue", "curl -sS -m 10 http://10.202.0.9/");
    assert_eq!(said.code, 7, "{said:?}");
    let said = run(world, "blue", "ping -c 1 -W 2 10.202.0.9");
    assert!(said.out.contains("Packet filtered"), "{said:?}");
}

fn neighbours_are_found_by_name_over_the_gateway(world: &World) {
    let outside = world.outside();
    outside.serve_names(world);
    let _up = world.up_with(NETWORKS);
    let _ann = world.sandbox("ann", "--network blue,ip=10.201.0.7,alias=anna");
    let _bob = world.sandbox("bob", "--network blue --network green");
    let look_up = |name: &str, question: &str| {
        let script = format!("dig +short +timeout=2 +tries=1 {question}");
        world.exec(name, &script).ok().trim().to_owned()
    };
    eventually("ann is found by name", || (look_up("bob", "ann A") == "10.201.0.7").then_some(()));
    assert_eq!(look_up("bob", "anna.weft.internal"), "10.201.0.7");
    assert_eq!(look_up("bob", "-x 10.201.0.7"), "ann.weft.internal.");
    assert_eq!(look_up("ann", "www.example.test A"), "192.0.2.2");
    assert_eq!(look_up("ann", "www.example.test AAAA"), "2001:db8::2");
}
