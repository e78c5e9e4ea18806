//! What the switch lets pass, and what it says about the rest.

use crate::support::{Program, World, eventually};

as_both!(
    endpoints_of_an_isolated_network_do_not_reach_each_other,
    a_storm_is_controlled_and_counted,
    addresses_that_are_not_one_s_own_are_dropped_or_pass,
    ipv6_works_by_name,
    jumbo_frames_pass_whole,
    transfers_both_ways_arrive_without_checksum_errors,
    traffic_follows_a_station_that_moves,
    several_workers_share_the_work_while_sandboxes_come_and_go,
);

/// Sends frames from a file descriptor that sees the whole Ethernet header.
const RAW: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
";

/// Runs a Python script in a sandbox.
#[track_caller]
fn python(world: &World, name: &str, script: &str) -> String {
    let mut command = world.weft_command(&format!("exec {name} -- python3 -c"));
    command.arg(script);
    Program::start(command).end().ok()
}

fn endpoints_of_an_isolated_network_do_not_reach_each_other(world: &World) {
    let _up = world
        .up_with("[networks.blue]\nsubnets = [\"10.201.0.0/24\"]\noptions = { isolated = true }\n");
    let _ann = world.sandbox("ann", "--network blue,ip=10.201.0.11,mac=02:00:00:00:00:11");
    let _bob = world.sandbox("bob", "--network blue,ip=10.201.0.12,mac=02:00:00:00:00:12");
    assert_ne!(world.exec("ann", "ping -c 1 -W 1 10.201.0.12").code, 0);
    // Not even when it knows the other's station.
    world.exec("ann", "ip neigh replace 10.201.0.12 lladdr 02:00:00:00:00:12 dev eth0").ok();
    assert_ne!(world.exec("ann", "ping -c 1 -W 1 10.201.0.12").code, 0);
    assert!(world.dropped("ann", "isolated") >= 1, "{:?}", world.drops());
    let said = world.weft("show drops").ok();
    assert!(said.contains("isolated") && said.contains("The network isolates"), "{said}");
}

fn a_storm_is_controlled_and_counted(world: &World) {
    let _up = world.up_with(
        "[networks.blue]\nsubnets = [\"10.201.0.0/24\"]\n\
         options = { storm-control = \"100/s\", spoof = \"allow\" }\n",
    );
    let _ann = world.sandbox("ann", "--network blue");
    let _bob = world.sandbox("bob", "--network blue,ip=10.201.0.12");
    let flood = "
frame = b'\\xff'*6 + bytes.fromhex('020000000001') + b'\\x88\\xb5' + bytes(60)
for _ in range(2000): s.send(frame)
";
    python(world, "ann", &format!("{RAW}{flood}"));
    // The kernel drops what comes faster than it is read; a tenth of it is a storm all the same.
    eventually("the storm is counted", || (world.dropped("ann", "storm") > 200).then_some(()));
    let ports = world.ports();
    let ann = ports.iter().find(|line| line.sandbox == "ann").unwrap();
    assert!(ann.flooded >= 1 && ann.flooded < ann.dropped, "{ann:?}");
    // Known stations are reached all the while.
    eventually("ann reaches bob", || {
        (world.exec("ann", "ping -c 1 -W 1 10.201.0.12").code == 0).then_some(())
    });
}

fn addresses_that_are_not_one_s_own_are_dropped_or_pass(world: &World) {
    for (spoof, passes) in [("deny", false), ("allow", true)] {
        let up = world.up_with(&format!(
            "[networks.blue]\nsubnets = [\"10.201.0.0/24\"]\noptions = {{ spoof = \"{spoof}\" }}\n"
        ));
        let ann = world.sandbox("ann", "--network blue,ip=10.201.0.11");
        let bob = world.sandbox("bob", "--network blue,ip=10.201.0.12");
        world.exec("ann", "ping -c 1 -W 2 10.201.0.12").ok();

        // Another IP address of the same subnet.
        world.exec("ann", "ip address add 10.201.0.99/24 dev eth0").ok();
        let foreign = world.exec("ann", "ping -c 1 -W 1 -I 10.201.0.99 10.201.0.12");
        assert_eq!(foreign.code == 0, passes, "{foreign:?}");
        assert_eq!(world.dropped("ann", "spoofed-address") > 0, !passes, "{:?}", world.drops());

        // Another MAC address.
        world.exec("ann", "ip link set eth0 address 02:66:66:66:66:66").ok();
        let foreign = world.exec("ann", "ping -c 1 -W 1 10.201.0.12");
        assert_eq!(foreign.code == 0, passes, "{foreign:?}");
        assert_eq!(world.dropped("ann", "spoofed-mac") > 0, !passes, "{:?}", world.drops());
        if !passes {
            let said = world.weft("show drops").ok();
            assert!(said.contains("used a MAC address that is not its own"), "{said}");
        }
        // One after the other: whoever outlives its appliance is awaited by the next one.
        drop((ann, bob));
        drop(up);
    }
}

fn ipv6_works_by_name(world: &World) {
    let _up = world.up_with("[networks.six]\nsubnets = [\"10.201.0.0/24\", \"fd00:201::/64\"]\n");
    let _ann = world.sandbox("ann", "--network six,ip6=fd00:201::11");
    let _bob = world.sandbox("bob", "--network six");
    let bob = world.endpoint("bob");
    assert_eq!(bob.addresses.len(), 2);
    eventually("ann knows bob", || {
        (world.exec("ann", "getent ahostsv6 bob").code == 0).then_some(())
    });
    eventually("ann reaches bob", || {
        (world.exec("ann", "ping -6 -c 1 -W 1 bob").code == 0).then_some(())
    });
    world.exec("bob", "ping -6 -c 2 -i 0.1 -W 2 fd00:201::11").ok();
    world.exec("bob", "ping -4 -c 1 -W 2 ann").ok();
}

fn jumbo_frames_pass_whole(world: &World) {
    let _up = world.up_with(
        "[networks.jumbo]\nsubnets = [\"10.201.0.0/24\"]\noptions = { mtu = 9000 }\n\
         [networks.tiny]\nsubnets = [\"10.202.0.0/24\"]\noptions = { mtu = 576 }\n",
    );
    let _ann = world.sandbox("ann", "--network jumbo,ip=10.201.0.11");
    let _bob = world.sandbox("bob", "--network jumbo,ip=10.201.0.12");
    world.exec("ann", "ping -c 1 -W 2 -M do -s 8972 10.201.0.12").ok();
    let long = world.exec("ann", "ping -c 1 -W 1 -M do -s 8973 10.201.0.12");
    assert!(long.code != 0 && (long.out + &long.err).contains("too long"));
    world.exec("ann", "ping -c 1 -W 2 -M dont -s 20000 10.201.0.12").ok();
    let _eve = world.sandbox("eve", "--network tiny,ip=10.202.0.11");
    let _dan = world.sandbox("dan", "--network tiny,ip=10.202.0.12");
    world.exec("eve", "ping -c 1 -W 2 -M do -s 548 10.202.0.12").ok();
    let long = world.exec("eve", "ping -c 1 -W 1 -M do -s 549 10.202.0.12");
    assert!(long.code != 0 && (long.out + &long.err).contains("too long"));
}

/// How often the kernel's stack in a sandbox met a wrong checksum.
pub fn checksum_errors(text: &str) -> Vec<String> {
    let errors = text.lines().filter(|line| line.contains("CsumErrors"));
    let errors = errors.filter(|line| !line.split_whitespace().any(|word| word == "0"));
    errors.map(str::to_owned).collect()
}

/// What prints the kernel's counters of wrong checksums.
pub const COUNTERS: &str = "nstat -asz TcpInCsumErrors UdpInCsumErrors IcmpInCsumErrors \
                            Udp6InCsumErrors Icmp6InCsumErrors";

fn transfers_both_ways_arrive_without_checksum_errors(world: &World) {
    let _up = world.up_with("[networks.six]\nsubnets = [\"10.201.0.0/24\", \"fd00:201::/64\"]\n");
    let script = "echo up; exec iperf3 -s";
    let _ann = world.program("ann", "--network six,ip=10.201.0.11,ip6=fd00:201::11", script, "up");
    let _bob = world.sandbox("bob", "--network six");
    world.wait_for_listener("ann", 5201);
    for options in [
        "-c 10.201.0.11 -n 32M",
        "-c 10.201.0.11 -n 32M -R",
        "-6 -c fd00:201::11 -n 16M",
        "-6 -c fd00:201::11 -n 16M -R",
        "-c 10.201.0.11 -u -b 50M -n 2M -l 8000",
    ] {
        world.exec("bob", &format!("iperf3 {options}")).ok();
    }
    for name in ["ann", "bob"] {
        let counters = world.exec(name, COUNTERS).ok();
        assert!(counters.contains("TcpInCsumErrors"), "{counters}");
        assert_eq!(checksum_errors(&counters), [""; 0], "{name}");
    }
    // TCP crossed the switch as superframes, not as frames of the MTU's size.
    let ports = world.ports();
    let bob = ports.iter().find(|line| line.sandbox == "bob").unwrap();
    assert!(bob.received_octets / bob.received > 1514, "{bob:?}");
}

fn traffic_follows_a_station_that_moves(world: &World) {
    let _up = world.up_with(
        "[networks.blue]\nsubnets = [\"10.201.0.0/24\"]\noptions = { spoof = \"allow\" }\n",
    );
    let _ann = world.sandbox("ann", "--network blue,ip=10.201.0.11");
    let _old = world.sandbox("old", "--network blue,ip=10.201.0.12");
    let _new = world.sandbox("new", "--network blue,ip=10.201.0.13");
    // The station is an address pair that either of two sandboxes may take up.
    let take =
        "ip link set eth0 address 02:77:77:77:77:77 && ip address add 10.201.0.77/24 dev eth0";
    world.exec("old", take).ok();
    eventually("ann reaches it", || {
        (world.exec("ann", "ping -c 1 -W 1 10.201.0.77").code == 0).then_some(())
    });
    let place = || {
        let lines = world.fdb();
        lines.into_iter().find(|line| line.mac == "02:77:77:77:77:77").map(|line| line.sandbox)
    };
    assert_eq!(place().as_deref(), Some("old"));
    world.exec("old", "ip address del 10.201.0.77/24 dev eth0; ip link set eth0 down").ok();
    world.exec("new", take).ok();
    world.exec("new", "ping -c 1 -W 1 -I 10.201.0.77 10.201.0.11").ok();
    assert_eq!(place().as_deref(), Some("new"));
    world.exec("ann", "ping -c 2 -i 0.1 -W 2 10.201.0.77").ok();
}

fn several_workers_share_the_work_while_sandboxes_come_and_go(world: &World) {
    let _up =
        world.up_with("[appliance]\nworkers = 3\n[networks.blue]\nsubnets = [\"10.201.0.0/24\"]\n");
    assert_eq!(world.status().unwrap().workers, 3);
    let server = "echo up; exec iperf3 -s";
    let _servers = [11, 12].map(|host| {
        let options = format!("--network blue,ip=10.201.0.{host}");
        world.program(&format!("server{host}"), &options, server, "up")
    });
    let _clients = [21, 22].map(|host| {
        let options = format!("--network blue,ip=10.201.0.{host}");
        world.sandbox(&format!("client{host}"), &options)
    });
    world.wait_for_listener("server11", 5201);
    world.wait_for_listener("server12", 5201);
    let transfers = [("client21", 11), ("client22", 12)].map(|(client, host)| {
        world.start(&format!("exec {client} -- iperf3 -c 10.201.0.{host} -n 200M -P 2"))
    });
    for _ in 0..10 {
        let said = world.weft("run --network blue -- ping -c 1 -W 5 10.201.0.11");
        assert_eq!(said.code, 0, "{said:?}");
    }
    for transfer in transfers {
        transfer.end().ok();
    }
    let ports = world.ports();
    assert_eq!(ports.len(), 4, "{ports:#?}");
    for port in ports {
        assert_eq!(port.received, port.forwarded + port.flooded + port.dropped, "{port:?}");
    }
    let tolerated = ["queue-full", "port-gone", "alone"];
    for line in world.drops() {
        assert!(tolerated.contains(&&*line.reason), "{line:?}");
    }
}
