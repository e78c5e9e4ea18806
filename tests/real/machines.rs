//! QEMU as the peer, with a kernel's network stack behind it.
//!
//! A machine without a processor is enough: QEMU joins its stream socket and a TAP in one hub, and
//! the TAP is in a namespace that plays the guest.

use serde_json::Value;

use super::switching::{COUNTERS, checksum_errors};
use crate::support::{World, eventually};

as_root!(a_machine_behind_qemu_talks_with_a_sandbox);

fn a_machine_behind_qemu_talks_with_a_sandbox(world: &World) {
    let _up = world.up_with("[networks.six]\nsubnets = [\"10.201.0.0/24\", \"fd00:201::/64\"]\n");
    let socket = world.path("vm.sock");
    let line = format!(
        "attach --network six,ip=10.201.0.40,ip6=fd00:201::40,mac=02:00:00:00:00:40 --name vm \
         --qemu {}",
        socket.display()
    );
    let mut attach = world.start(&line);
    attach.wait_for("mac=02:00:00:00:00:40");
    assert!(attach.out().contains(&socket.display().to_string()), "{}", attach.out());

    let guest = world.namespace("vm");
    let mut qemu = guest.start(&format!(
        "qemu-system-x86_64 -machine none -display none -nodefaults \
         -netdev stream,id=s,server=off,addr.type=unix,addr.path={} \
         -netdev tap,id=t,ifname=tap0,script=no,downscript=no \
         -netdev hubport,id=h1,hubid=0,netdev=s -netdev hubport,id=h2,hubid=0,netdev=t",
        socket.display()
    ));
    eventually("QEMU is connected", || {
        assert!(!qemu.has_ended(), "{}", qemu.err());
        (world.ports().len() == 1).then_some(())
    });
    guest.run("ip link set tap0 address 02:00:00:00:00:40 mtu 1500 up").ok();
    guest.run("ip address add 10.201.0.40/24 dev tap0").ok();
    guest.run("ip -6 address add fd00:201::40/64 dev tap0 nodad").ok();

    let script = "echo up; exec iperf3 -s";
    let options = "--network six,ip=10.201.0.11,ip6=fd00:201::11";
    let _ann = world.program("ann", options, script, "up");
    world.wait_for_listener("ann", 5201);
    eventually("ann knows vm", || {
        (world.exec("ann", "getent ahostsv4 vm").code == 0).then_some(())
    });
    world.exec("ann", "ping -4 -c 2 -i 0.1 -W 2 vm").ok();
    eventually("IPv6 works, too", || {
        (world.exec("ann", "ping -6 -c 1 -W 1 fd00:201::40").code == 0).then_some(())
    });
    guest.run("ping -c 1 -W 2 10.201.0.11").ok();
    guest.run("ping -c 1 -W 2 -M do -s 1472 10.201.0.11").ok();
    guest.run("ping -c 1 -W 2 -s 5000 10.201.0.11").ok();

    for options in [
        "-c 10.201.0.11 -n 16M",
        "-c 10.201.0.11 -n 16M -R",
        "-6 -c fd00:201::11 -n 8M",
        "-6 -c fd00:201::11 -n 8M -R",
        "-c 10.201.0.11 -u -b 20M -n 1M -l 1400",
        "-c 10.201.0.11 -u -b 20M -n 1M -l 6000 -R",
    ] {
        let said = guest.run(&format!("iperf3 --json {options}")).ok();
        let report: Value = serde_json::from_str(&said).unwrap();
        let sum = &report["end"]["sum_received"];
        let sum = if sum.is_null() { &report["end"]["sum"] } else { sum };
        assert!(sum["bytes"].as_u64().is_some_and(|octets| octets > 500_000), "{options}: {sum}");
    }
    for counters in [guest.run(COUNTERS).ok(), world.exec("ann", COUNTERS).ok()] {
        assert!(counters.contains("TcpInCsumErrors"), "{counters}");
        assert_eq!(checksum_errors(&counters), [""; 0]);
    }
    // What left ann as superframes reached the guest as frames of the MTU's size.
    let ports = world.ports();
    let ann = ports.iter().find(|port| port.sandbox == "ann").unwrap();
    assert!(ann.received_octets / ann.received > 1514, "{ann:?}");
    let links = guest.run("ip -s link show tap0").ok();
    assert!(links.contains("mtu 1500"), "{links}");

    // QEMU goes, and another one comes.
    drop(qemu);
    eventually("its port is gone", || (world.ports().len() == 1).then_some(()));
    assert!(!attach.has_ended());
}
