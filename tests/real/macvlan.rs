//! Networks of the driver `macvlan`, beside the kernel's macvlan on the same physical network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::hostile::{NUISANCE, balanced};
use crate::support::physical::{HEAR_BROADCASTS, Physical, Place};
use crate::support::{Program, World, eventually};

as_root!(
    each_mode_reaches_whom_the_kernel_s_macvlan_reaches,
    in_passthru_the_one_endpoint_is_the_parent_s_station,
    a_vlan_goes_by_name_and_nothing_of_other_vlans_passes,
    tcp_passes_in_superframes_both_ways_with_its_checksums_right,
    a_parent_may_go_down_and_away_and_come_back,
    an_appliance_that_comes_back_takes_the_parent_again,
    nonsense_from_outside_ends_as_counted_drops,
    what_a_parent_cannot_be_is_refused,
    docker_s_client_makes_a_macvlan_network_with_and_without_a_parent,
);
as_ordinary!(
    without_the_right_to_a_parent_the_refusal_says_how_to_get_it,
    a_copy_with_the_one_capability_is_enough,
    in_a_user_namespace_of_one_s_own_no_privilege_is_needed,
);

const TRUNK: &str = include_str!("trunk.py");

fn file(options: &str) -> String {
    format!(
        "[networks.lan]
         driver = \"macvlan\"
         subnets = [\"10.250.0.0/24\", \"fd00:250::/64\"]
         options = {{ {options} }}"
    )
}

/// Whom each place reaches: `ping` to each of the others, and the answers to one `ping` to all.
fn reached(
    places: &BTreeMap<&'static str, (Place<'_>, &str)>,
) -> BTreeMap<&'static str, BTreeSet<String>> {
    let ping = |(name, (from, own)): (&&'static str, &(Place<'_>, &str))| {
        let others = places.iter().filter(|(other, _)| *other != name);
        let mut pings: Vec<(String, Program)> = others
            .map(|(other, (_, address))| {
                ((*other).to_owned(), from.start(&format!("ping -c 2 -i 0.3 -W 1 {address}")))
            })
            .collect();
        // So that all have met once, whatever came back then.
        let all = from.start(&format!("ping -b -c 3 -i 0.3 -W 1 -I {own} 10.250.0.255"));
        let mut reached: BTreeSet<String> = BTreeSet::new();
        for (other, ping) in pings.drain(..) {
            if ping.end().code == 0 {
                reached.insert(other);
            }
        }
        let answers = all.end().out;
        for (other, (_, address)) in places.iter().filter(|(other, _)| *other != name) {
            if answers.contains(&format!("from {address}:")) {
                reached.insert(format!("{other}, who hears everybody"));
            }
        }
        (*name, reached)
    };
    places.iter().map(ping).collect()
}

/// Both sides of one comparison.
fn compare(world: &World, physical: &Physical, mode: &str, names: &[&'static str]) {
    let _up = physical.up(world, &file(&format!("parent = \"eth0\", macvlan_mode = \"{mode}\"")));
    let _ann = world.sandbox("ann", "--network lan,ip=10.250.0.11");
    let _bob = world.sandbox("bob", "--network lan,ip=10.250.0.12");
    for name in ["ann", "bob"] {
        world.exec(name, HEAR_BROADCASTS).ok();
    }
    let kann = physical.kernel_endpoint(world, "kann", mode, "10.250.0.21");
    let kbob = physical.kernel_endpoint(world, "kbob", mode, "10.250.0.22");
    let out = ("out", (Place::Namespace(&physical.out), "10.250.0.1"));
    let ours = BTreeMap::from([
        out,
        ("host", (Place::Namespace(&physical.near), "10.250.0.2")),
        ("ann", (Place::Sandbox(world, "ann"), "10.250.0.11")),
        ("bob", (Place::Sandbox(world, "bob"), "10.250.0.12")),
    ]);
    let theirs = BTreeMap::from([
        out,
        ("host", (Place::Namespace(&physical.beside), "10.250.0.3")),
        ("ann", (Place::Namespace(&kann), "10.250.0.21")),
        ("bob", (Place::Namespace(&kbob), "10.250.0.22")),
    ]);
    let only = |all: BTreeMap<&'static str, _>| -> BTreeMap<&'static str, _> {
        all.into_iter().filter(|(name, _)| names.contains(name)).collect()
    };
    let (ours, theirs) = (only(ours), only(theirs));
    assert_eq!(reached(&ours), reached(&theirs), "{mode}: weft, and the kernel");
}

fn each_mode_reaches_whom_the_kernel_s_macvlan_reaches(world: &World) {
    let physical = Physical::build(world);
    for mode in ["bridge", "private", "vepa"] {
        for is_reflecting in [false, true] {
            physical.reflect(is_reflecting);
            // The kernel takes what a private endpoint sent, and was sent back, from the host too.
            // A packet socket takes nothing from anybody.
            let has_host = !(mode == "private" && is_reflecting);
            let names: &[_] =
                if has_host { &["out", "host", "ann", "bob"] } else { &["out", "ann", "bob"] };
            compare(world, &physical, mode, names);
        }
    }
}

fn in_passthru_the_one_endpoint_is_the_parent_s_station(world: &World) {
    let physical = Physical::build(world);
    let _up = physical.up(world, &file("parent = \"eth0\", mode = \"passthru\""));
    let _ann = world.sandbox("ann", "--network lan,ip=10.250.0.11");
    let parent = physical.near.run("cat /sys/class/net/eth0/address").ok();
    assert_eq!(world.endpoint("ann").mac, parent.trim());
    world.exec("ann", HEAR_BROADCASTS).ok();
    let kann = physical.kernel_endpoint(world, "kann", "passthru", "10.250.0.21");
    let out = ("out", (Place::Namespace(&physical.out), "10.250.0.1"));
    let ours = BTreeMap::from([out, ("ann", (Place::Sandbox(world, "ann"), "10.250.0.11"))]);
    let theirs = BTreeMap::from([out, ("ann", (Place::Namespace(&kann), "10.250.0.21"))]);
    let ours = reached(&ours);
    assert!(ours["ann"].contains("out") && ours["out"].contains("ann"), "{ours:?}");
    assert_eq!(ours, reached(&theirs));
    world.weft("run --network lan -- true").refused(
        1,
        &["network lan is in mode passthru", "ann"],
        "another mode",
    );
    // Everything is the endpoint's, whomever it is for.
    physical.out.run("ip neigh add 10.250.0.99 lladdr 02:00:00:00:00:99 dev br0").ok();
    physical.out.run("bridge fdb add 02:00:00:00:00:99 dev p0 master static").ok();
    let before = packets(world, "ann");
    let _ = physical.out.run("ping -c 3 -i 0.2 -W 1 10.250.0.99");
    eventually("it is all hers", || (packets(world, "ann") >= before + 3).then_some(()));
}

/// The frames that a sandbox has received.
fn packets(world: &World, name: &str) -> u64 {
    world.ports().iter().find(|line| line.sandbox == name).unwrap().transmitted
}

/// A host at the other end of `port` that is on VLAN 50: the kernel's if it has VLANs, or else ours.
fn trunk(world: &World, physical: &Physical, port: &str) -> Option<Program> {
    let out = &physical.out;
    out.run(&format!("ip link set {port} nomaster")).ok();
    let made = out.run(&format!("ip link add link {port} name vlan50 type vlan id 50"));
    let host = (made.code != 0).then(|| {
        let script = world.write("trunk.py", TRUNK);
        let mut host = out.start(&format!("python3 {} {port} vlan50", script.display()));
        host.wait_for("ready");
        host
    });
    out.run("ip address add 10.251.0.1/24 dev vlan50").ok();
    out.run("ip address add fd00:251::1/64 dev vlan50 nodad").ok();
    out.run("ip link set vlan50 up").ok();
    host
}

fn a_vlan_goes_by_name_and_nothing_of_other_vlans_passes(world: &World) {
    let physical = Physical::build(world);
    let host = trunk(world, &physical, "p0");
    let _up = physical.up(
        world,
        "[networks.lan]
         driver = \"macvlan\"
         subnets = [\"10.251.0.0/24\", \"fd00:251::/64\"]
         options = { parent = \"eth0.50\" }",
    );
    let _ann = world.sandbox("ann", "--network lan,ip=10.251.0.11,ip6=fd00:251::11");
    let ann = Place::Sandbox(world, "ann");
    for address in ["10.251.0.1", "fd00:251::1"] {
        ann.run(&format!("ping -c 1 -W 5 {address}")).ok();
    }
    // Superframes with a tag, by an interface that segments and sums in software and one that
    // pretends to do it in hardware.
    for offloads in ["off", "on"] {
        physical.near.run(&format!("ethtool -K eth0 tx {offloads} tso {offloads}")).ok();
        if offloads == "off" || host.is_none() {
            transfer(Place::Namespace(&physical.out), "10.251.0.1", ann);
            transfer(Place::Namespace(&physical.out), "fd00:251::1", ann);
        }
    }
    // Untagged frames and those of other VLANs are strangers' here.
    let count = || world.dropped("(eth0.50 up)", "stranger");
    let before = count();
    physical.out.run("ip address add 10.250.0.1/24 dev p0").ok();
    let _ = physical.out.run("ping -c 3 -i 0.2 -W 1 -I p0 10.250.0.77");
    eventually("strangers are counted", || (count() > before).then_some(()));
    // A guest that tags by itself gets nowhere.
    let tagged = "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); \
                  s.bind((\"eth0\", 0)); own = s.getsockname()[4]; \
                  s.send(b\"\\xff\" * 6 + own + bytes.fromhex(\"8100004d88b5\") + bytes(46))";
    ann.run(&format!("python3 -c '{tagged}'")).ok();
    eventually("it is counted", || (world.dropped("ann", "tagged") == 1).then_some(()));
    if let Some(host) = host {
        // What the machine itself says is untagged, and is IPv6.
        assert!(!host.out().contains("88b5"), "{}", host.out());
    }
}

/// Sends a few megabytes each way between a listener and a sandbox, and sees that nobody's checksum
/// was wrong.
fn transfer(listener: Place<'_>, address: &str, sender: Place<'_>) {
    let wrong = ["TcpInCsumErrors", "UdpInCsumErrors", "TcpExtTCPWqueueTooBig"];
    let before = wrong.map(|name| (listener.counter(name), sender.counter(name)));
    let mut server = listener.start(&format!("iperf3 --forceflush -s -1 -B {address}"));
    server.wait_for("listening");
    sender.run(&format!("iperf3 -c {address} -n 20M")).ok();
    server.end().ok();
    let mut server = listener.start(&format!("iperf3 --forceflush -s -1 -B {address}"));
    server.wait_for("listening");
    sender.run(&format!("iperf3 -R -c {address} -n 20M")).ok();
    server.end().ok();
    let after = wrong.map(|name| (listener.counter(name), sender.counter(name)));
    assert_eq!(before, after, "{wrong:?}");
}

fn tcp_passes_in_superframes_both_ways_with_its_checksums_right(world: &World) {
    let physical = Physical::build(world);
    let _up = physical.up(world, &file("parent = \"eth0\""));
    let _ann = world.sandbox("ann", "--network lan,ip=10.250.0.11,ip6=fd00:250::11");
    for address in ["10.250.0.1", "fd00:250::1"] {
        let octets = || {
            let line = world.ports().into_iter().find(|line| line.sandbox == "ann").unwrap();
            (line.received, line.received_octets, line.transmitted, line.transmitted_octets)
        };
        let before = octets();
        transfer(Place::Namespace(&physical.out), address, Place::Sandbox(world, "ann"));
        let after = octets();
        let sent = (after.1 - before.1) / (after.0 - before.0);
        let received = (after.3 - before.3) / (after.2 - before.2);
        // Acknowledgements go the other way and are small.
        assert!(sent > 3_000 && received > 3_000, "{sent} and {received} octets a frame");
    }
    // An interface that leaves segmenting and summing to software.
    physical.near.run("ethtool -K eth0 tx off tso off gso off").ok();
    transfer(Place::Namespace(&physical.out), "10.250.0.1", Place::Sandbox(world, "ann"));
}

fn condition(world: &World) -> String {
    world.status().unwrap().uplinks[0].condition.clone()
}

fn wait_until(world: &World, wanted: &str) {
    eventually(wanted, || (condition(world) == wanted).then_some(()));
}

fn a_parent_may_go_down_and_away_and_come_back(world: &World) {
    let physical = Physical::build(world);
    let mut up = physical.up(world, &file("parent = \"eth0\""));
    let _ann = world.sandbox("ann", "--network lan,ip=10.250.0.11");
    let _bob = world.sandbox("bob", "--network lan,ip=10.250.0.12");
    let ping = |address: &str| {
        // The switch outside takes its time to see that somebody is there again.
        let script = format!("ping -c 1 -W 1 {address}");
        eventually(&script, || (world.exec("ann", &script).code == 0).then_some(()));
    };
    ping("10.250.0.1");
    physical.near.run("ip link set eth0 down").ok();
    wait_until(world, "down");
    assert_ne!(world.exec("ann", "ping -c 1 -W 1 10.250.0.1").code, 0);
    ping("10.250.0.12");
    physical.near.run("ip link set eth0 up").ok();
    wait_until(world, "up");
    ping("10.250.0.1");
    for _ in 0..3 {
        physical.near.run("ip link delete eth0").ok();
        wait_until(world, "gone");
        assert!(world.weft("status").ok().contains("eth0 is gone, of lan"));
        ping("10.250.0.12");
        physical.plug("p0", &physical.near);
        wait_until(world, "up");
        ping("10.250.0.1");
    }
    assert!(!up.has_ended());
}

fn an_appliance_that_comes_back_takes_the_parent_again(world: &World) {
    let physical = Physical::build(world);
    physical.near.run("ip link set eth0 mtu 1400").ok();
    let up = physical.up(world, &file("parent = \"eth0\""));
    world.weft("network create -d macvlan -o parent=eth0.7 -o mode=vepa by-hand").ok();
    let _ann = world.sandbox("ann", "--network lan,ip=10.250.0.11");
    let before = world.status().unwrap().uplinks.len();
    up.signal(Signal::KILL);
    drop(up);
    let up = physical.up(world, &file("parent = \"eth0\""));
    eventually("ann has come back", || (world.names() == ["ann"]).then_some(()));
    let ping = || (world.exec("ann", "ping -c 1 -W 1 10.250.0.1").code == 0).then_some(());
    eventually("ann reaches the outside", ping);
    let uplinks = || world.status().unwrap().uplinks;
    assert!(before == 2 && uplinks().len() == 2, "{:?}", uplinks());
    assert!(uplinks().iter().all(|own| own.condition == "up"), "{:?}", uplinks());
    let bob = world.sandbox("bob", "--network by-hand");
    assert_eq!((world.endpoint("ann").mtu, world.endpoint("bob").mtu), (1400, 1400));
    drop(bob);
    // One that is not there yet when the appliance is, is waited for.
    up.signal(Signal::KILL);
    drop(up);
    physical.near.run("ip link delete eth0").ok();
    let _up = physical.up(world, &file("parent = \"eth0\""));
    assert!(uplinks().iter().all(|own| own.condition == "gone"), "{:?}", uplinks());
    physical.plug("p0", &physical.near);
    wait_until(world, "up");
    eventually("ann is back", || (world.names() == ["ann"]).then_some(()));
    eventually("ann reaches the outside again", ping);
}

fn nonsense_from_outside_ends_as_counted_drops(world: &World) {
    let physical = Physical::build(world);
    let up = physical.up(world, &file("parent = \"eth0\", mode = \"vepa\""));
    let _ann = world.sandbox("ann", "--network lan,ip=10.250.0.11");
    let _bob = world.sandbox("bob", "--network lan,ip=10.250.0.12");
    let script = world.write("nuisance.py", NUISANCE);
    let nuisance = format!("python3 {}", script.display());
    physical.reflect(true);
    // From a stranger, and from ann, whose nonsense comes back as well.
    physical.beside.run(&nuisance).ok();
    world.exec("ann", &nuisance).ok();
    let ports = balanced(world);
    let uplink = ports.iter().find(|port| port.sandbox == "(eth0 up)").unwrap();
    assert!(uplink.received > 100 && uplink.dropped > 50, "{uplink:#?}");
    assert!(world.dropped("(eth0 up)", "stranger") > 0 && world.dropped("ann", "tagged") > 0);
    world.exec("bob", "ping -c 2 -i 0.3 -W 5 10.250.0.1 && ping -c 2 -W 5 10.250.0.11").ok();
    drop(up);
}

fn what_a_parent_cannot_be_is_refused(world: &World) {
    let physical = Physical::build(world);
    let _up = physical.up(world, &file("parent = \"eth0\""));
    let cases: &[(&str, &[&str], &str)] = &[
        ("-o parent=eth7", &["parent interface eth7 does not exist"], "ip link"),
        ("-o parent=eth7.50", &["parent interface eth7.50 does not exist"], "ip link"),
        ("-o parent=eth0.4095", &["parent interface eth0.4095 does not exist"], "ip link"),
        ("-o parent=lo", &["loopback interface is not a valid macvlan parent link"], "leads to"),
        ("-o parent=lo.5", &["lo.5 does not carry Ethernet"], "such as eth0"),
        ("-o parent=eth0", &["network lan is already using parent interface eth0"], "VLAN"),
        ("-o parent=a/b", &["option parent cannot be \"a/b\""], "such as \"eth0\""),
        ("-o macvlan_mode=source", &["option macvlan_mode cannot be \"source\""], "passthru"),
        ("-o parent=eth0.7 -o mtu=1501", &["MTU of 1501", "eth0.7", "1500"], "leave it out"),
    ];
    for (options, words, help) in cases {
        let said = world.weft(&format!("network create -d macvlan {options} other"));
        said.refused(1, words, help);
    }
    let said = world.weft("network create -o parent=eth0.7 other");
    said.refused(1, &["driver bridge", "takes no option parent"], "driver macvlan");
    // The parent's MTU, unless a smaller one is asked for.
    physical.near.run("ip link set eth0 mtu 1400").ok();
    world.weft("network create -d macvlan -o parent=eth0.7 small").ok();
    world.weft("network create -d macvlan -o parent=eth0.8 -o mtu=1300 smaller").ok();
    let _ann = world.sandbox("ann", "--network small");
    let _bob = world.sandbox("bob", "--network smaller");
    assert_eq!((world.endpoint("ann").mtu, world.endpoint("bob").mtu), (1400, 1300));
}

fn docker_s_client_makes_a_macvlan_network_with_and_without_a_parent(world: &World) {
    let physical = Physical::build(world);
    let _up = physical.up(world, "");
    let docker = |line: &str| {
        let mut command = world.command("docker");
        command.env("DOCKER_HOST", format!("unix://{}", world.socket().display()));
        command.args(line.split_whitespace());
        Program::start(command).end()
    };
    docker("network create --driver macvlan --subnet=192.168.1.0/24 my-macvlan-network").ok();
    docker(
        "network create -d macvlan --subnet=10.250.0.0/24 --gateway=10.250.0.1 -o parent=eth0 \
         -o macvlan_mode=bridge pub",
    )
    .ok();
    let inspect = |name: &str| -> Value {
        let said = docker(&format!("network inspect {name}")).ok();
        serde_json::from_str::<Value>(&said).unwrap()[0].clone()
    };
    let (alone, public) = (inspect("my-macvlan-network"), inspect("pub"));
    assert_eq!((&alone["Driver"], &alone["Options"]), (&"macvlan".into(), &serde_json::json!({})));
    let options = serde_json::json!({ "parent": "eth0", "macvlan_mode": "bridge" });
    assert_eq!((&public["Driver"], &public["Options"]), (&"macvlan".into(), &options));
    let _ann = world.sandbox("ann", "--network my-macvlan-network");
    let _bob = world.sandbox("bob", "--network my-macvlan-network");
    docker("network connect --ip 10.250.0.12 pub bob").ok();
    world.exec("ann", "ping -c 1 -W 5 bob && test -z \"$(ip route show default)\"").ok();
    let routes =
        "test \"$(ip route show default)\" = \"default via 10.250.0.1 dev eth1 proto static \"";
    world.exec("bob", &format!("ping -c 1 -W 5 10.250.0.1 && {routes}")).ok();
    docker("network disconnect pub bob").ok();
    docker("network rm pub").ok();
    assert_eq!(world.status().unwrap().uplinks, []);
}

fn without_the_right_to_a_parent_the_refusal_says_how_to_get_it(world: &World) {
    {
        let _up = world.up();
        let said = world.weft("network create -d macvlan -o parent=eth0 lan");
        said.refused(1, &["parent interface eth0 cannot be opened"], "setcap cap_net_raw+ep");
        world.weft("network create -d macvlan alone").ok();
        world.weft("run --network alone -- true").ok();
    }
    let file = world.write("weft.toml", &file("parent = \"eth0\""));
    let said = world.weft(&format!("up {}", file.display()));
    said.refused(1, &["parent interface eth0 cannot be opened"], "CAP_NET_RAW");
}

fn a_copy_with_the_one_capability_is_enough(world: &World) {
    let physical = Physical::build(world);
    let copy = world.path("weft-lan");
    fs::copy(world.binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = copy.display();
    physical.near.run(&format!("setcap cap_net_raw+ep {copy}")).ok();
    let declared = "[endpoints.web]\nnetwork = \"lan\"\ncommand = [\"sleep\", \"infinity\"]";
    let file = world.write("weft.toml", &format!("{}\n{declared}", file("parent = \"eth0\"")));
    let (user, group) = world.ids();
    let _up = physical.near.start(&format!(
        "setpriv --reuid {user} --regid {group} --clear-groups {copy} up {}",
        file.display()
    ));
    eventually("the appliance answers", || world.status());
    let _ann = world.sandbox("ann", "--network lan");
    eventually("web runs", || world.ps().iter().all(|line| line.pid.is_some()).then_some(()));
    for name in ["ann", "web"] {
        world.exec(name, "ping -c 1 -W 5 10.250.0.1").ok();
    }
}

fn in_a_user_namespace_of_one_s_own_no_privilege_is_needed(world: &World) {
    let file = world.write("weft.toml", &file("parent = \"wire0\""));
    let script = format!(
        "ip link add wire0 type veth peer name wire1 && ip link set wire0 up && \
         ip link set wire1 up && ip address add 10.250.0.1/24 dev wire1 && \
         exec {} up {}",
        world.binary().display(),
        file.display()
    );
    let mut command = world.command("unshare");
    command.args(["--user", "--map-current-user", "--keep-caps", "--net", "bash", "-c", &script]);
    let up = Program::start(command);
    eventually("the appliance answers", || world.status());
    let _ann = world.sandbox("ann", "--network lan");
    world.exec("ann", "ping -c 1 -W 5 10.250.0.1").ok();
    assert_eq!(condition(world), "up");
    drop(up);
}
