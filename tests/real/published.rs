//! The way in: published ports, as clients outside, on the host and in other sandboxes see them.

use crate::support::{World, eventually};

/// A network with both families, and one that nobody can come into.
const NETWORKS: &str = "
    [networks.blue]
    subnets = [\"10.201.0.0/24\", \"fd00:201::/64\"]
    [networks.closed]
    subnets = [\"10.203.0.0/24\"]
    internal = true
";

/// Answers every connection and every datagram with who has called.
const SERVER: &str = "
import socket, sys, threading
def tcp(family, address):
    s = socket.create_server((address, 80), family=family)
    while True:
        c, who = s.accept()
        c.sendall(('%s\\n' % who[0]).encode()); c.close()
def udp(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, 53))
    while True:
        octets, who = s.recvfrom(2000)
        s.sendto(('%s\\n' % who[0]).encode(), who)
for serve in (tcp, udp):
    for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        threading.Thread(target=serve, args=(family, address)).start()
print('up', flush=True)
";

/// Asks each place and prints what it says.
const ASK: &str = "
import socket, sys
for place in sys.argv[1:]:
    kind, address, port = place.split(',')
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
    s.settimeout(5)
    try:
        s.connect((address, int(port)))
        if kind == 'udp': s.send(b'who')
        print(s.recv(100).decode().strip() or 'nobody')
    except OSError as e:
        print(type(e).__name__)
";

as_both!(
    a_published_port_shows_the_client_s_address,
    ports_are_published_and_taken_back_while_a_sandbox_runs,
    what_cannot_be_published_is_refused_with_the_reason,
    published_ports_survive_the_appliance,
    a_file_publishes_ports,
);

#[track_caller]
fn serve(world: &World, name: &str, options: &str) -> crate::support::Program {
    world.write("server.py", SERVER);
    world.program(name, options, "python3 -u server.py", "up")
}

/// What clients outside hear from these places.
#[track_caller]
fn ask_outside(
    world: &World,
    outside: &crate::support::outside::Outside,
    places: &str,
) -> Vec<String> {
    let path = world.write("ask.py", ASK);
    let said = outside.run(&format!("python3 {} {places}", path.display())).ok();
    said.lines().map(str::to_owned).collect()
}

/// What a client on the host hears.
#[track_caller]
fn ask_on_host(world: &World, places: &str) -> Vec<String> {
    let path = world.write("ask.py", ASK);
    let said = world.host(&format!("python3 {} {places}", path.display())).ok();
    said.lines().map(str::to_owned).collect()
}

fn a_published_port_shows_the_client_s_address(world: &World) {
    let outside = world.outside();
    let _up = world.up_with(NETWORKS);
    let publish = "--publish 8080:80 -p 5353:53/udp -p 127.0.0.1:8081:80";
    let _web = serve(world, "web", &format!("--network blue,ip=10.201.0.9 {publish}"));
    let places = "tcp,192.0.2.1,8080 tcp,2001:db8::1,8080 udp,192.0.2.1,5353 udp,2001:db8::1,5353";
    assert_eq!(
        ask_outside(world, &outside, places),
        ["192.0.2.2", "2001:db8::2", "192.0.2.2", "2001:db8::2"]
    );
    assert_eq!(ask_outside(world, &outside, "tcp,192.0.2.1,8081"), ["ConnectionRefusedError"]);
    // Who has no address that a guest could answer to is seen as the gateway.
    let places = "tcp,127.0.0.1,8080 tcp,127.0.0.1,8081 tcp,::1,8080 udp,127.0.0.1,5353 \
                  udp,::1,5353 tcp,192.0.2.1,8080";
    assert_eq!(
        ask_on_host(world, places),
        ["10.201.0.1", "10.201.0.1", "fd00:201::1", "10.201.0.1", "fd00:201::1", "192.0.2.1"]
    );
    // Other sandboxes come by the host's address.
    let path = world.write("ask.py", ASK);
    let line = format!("run --network blue -- python3 {} tcp,192.0.2.1,8080", path.display());
    assert_eq!(world.weft(&line).ok(), "192.0.2.1\n");
    let flows = world.weft("show flows --format json").ok();
    assert!(flows.contains("\"listening\""), "{flows}");
}

fn ports_are_published_and_taken_back_while_a_sandbox_runs(world: &World) {
    let outside = world.outside();
    let _up = world.up_with(NETWORKS);
    let _web = serve(world, "web", "--network blue");
    let places = "tcp,192.0.2.1,8080 udp,192.0.2.1,5353";
    let heard = || ask_outside(world, &outside, places);
    assert_eq!(heard()[0], "ConnectionRefusedError");
    world.weft("port add web 8080:80 5353:53/udp 9000-9009:80-89").ok();
    assert_eq!(heard(), ["192.0.2.2", "192.0.2.2"]);
    let listed = world.weft("port ls web").ok();
    assert!(listed.contains("9000-9009:80-89/tcp") && listed.contains("5353:53/udp"), "{listed}");
    world.weft("port add web 8080:80").refused(1, &["8080:80/tcp is published already"], "");
    world.weft("port rm web 8080:80 9000-9009:80-89").ok();
    assert_eq!(heard(), ["ConnectionRefusedError", "192.0.2.2"]);
    world.weft("port rm web 8080:80").refused(1, &["does not publish 8080:80/tcp"], "port ls");
    world.weft("port add nobody 1:1").refused(1, &["no sandbox nobody"], "weft ps");
}

fn what_cannot_be_published_is_refused_with_the_reason(world: &World) {
    let outside = world.outside();
    let taken = "import socket, time\ns = socket.create_server(('0.0.0.0', 8080))\n\
                 print('up', flush=True)\ntime.sleep(1000)\n";
    outside.serve_on_host(world, taken, "");
    outside.on_host("sysctl -qw net.ipv4.ip_unprivileged_port_start=1024").ok();
    let _up = world.up_with(NETWORKS);
    let cases = [
        ("--network blue -p 8080:80", "the host's 0.0.0.0:8080 is in use", "another port"),
        ("--network blue -p 192.0.2.9:80:80", "is not an address of the host", ""),
        ("--network closed -p 8081:80", "network closed is internal", ""),
        ("--network none -p 8081:80", "have no ports of their own", ""),
        ("--network closed -p [::1]:8081:80", "network closed is internal", ""),
        ("--network blue -p 8081:53/udp -p 8082:53/udp", "can be published once only", ""),
        ("--network blue -p 1-4000:1-4000 -p 5000-6000:5000-6000", "at most 4096 ports", ""),
    ];
    for (options, words, help) in cases {
        world.weft(&format!("run {options} -- true")).refused(1, &[words], help);
    }
    if world.who == crate::support::Who::Ordinary {
        world.weft("run --network blue -p 80:80 -- true").refused(
            1,
            &["the host's 0.0.0.0:80 is for administrators only"],
            "ip_unprivileged_port_start",
        );
    }
    assert_eq!(world.weft("run --network blue -p 80 -- true").code, 2);
    assert!(world.names().is_empty());
}

fn published_ports_survive_the_appliance(world: &World) {
    let outside = world.outside();
    let first = world.up_with(NETWORKS);
    let _web = serve(world, "web", "--network blue -p 8080:80");
    world.weft("port add web 5353:53/udp").ok();
    first.kill();
    let _second = world.up_with(NETWORKS);
    world.endpoint("web");
    eventually("the ports are published again", || {
        let heard = ask_outside(world, &outside, "tcp,192.0.2.1,8080 udp,192.0.2.1,5353");
        (heard == ["192.0.2.2", "192.0.2.2"]).then_some(())
    });
}

fn a_file_publishes_ports(world: &World) {
    let outside = world.outside();
    let server = world.write("server.py", SERVER);
    let file = format!(
        "{NETWORKS}
        [endpoints.web]
        network = \"blue\"
        publish = [\"8080:80\"]
        command = [\"python3\", \"-u\", \"{}\"]",
        server.display()
    );
    let _up = world.up_with(&file);
    eventually("the file's endpoint answers", || {
        let heard = ask_outside(world, &outside, "tcp,192.0.2.1,8080 tcp,2001:db8::1,8080");
        (heard == ["192.0.2.2", "2001:db8::2"]).then_some(())
    });
}
