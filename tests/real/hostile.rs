//! Guests that send what no honest guest would: everything is counted, nothing breaks.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use weft::api::client::Client;
use weft::api::lifeline::Lifeline;
use weft::api::shapes::{
    Assigned, AttachRequest, EndpointRequest, FromAppliance, FromSandbox, Kind, PortLine,
};
use weft::cnm::Id;

use crate::support::{Program, World, eventually};

as_both!(
    every_frame_and_every_copy_is_accounted_for,
    a_guest_that_breaks_the_framing_is_hung_up_on_and_may_come_again,
    a_guest_that_does_not_read_harms_nobody_else,
    streams_that_change_workers_lose_nothing_and_keep_nobody_waiting,
    a_life_line_ends_though_its_own_end_was_handed_in,
    nobody_takes_another_s_place,
);

const BLUE: &str = "
    [networks.blue]
    subnets = [\"10.201.0.0/24\", \"fd00:201::/64\"]
    options = { storm-control = \"20000/s\" }
";

/// Random frames of every length, then headers that lie about them, from inside a sandbox.
pub const NUISANCE: &str = include_str!("nuisance.py");

#[track_caller]
fn sum(ports: &[PortLine], of: fn(&PortLine) -> u64) -> u64 {
    ports.iter().map(of).sum()
}

/// Waits until nothing moves, and sees that the books balance.
#[track_caller]
pub fn balanced(world: &World) -> Vec<PortLine> {
    let counts = |ports: &[PortLine]| {
        ports.iter().map(|p| (p.received, p.transmitted, p.copies)).collect::<Vec<_>>()
    };
    let mut last = Vec::new();
    eventually("the counters rest and balance", || {
        let ports = world.all_ports();
        let rests = counts(&ports) == counts(&last);
        let whole = ports.iter().all(|p| p.received == p.forwarded + p.flooded + p.dropped)
            && sum(&ports, |p| p.copies) == sum(&ports, |p| p.transmitted + p.egress_dropped);
        last.clone_from(&ports);
        assert!(!rests || whole, "{ports:#?}");
        rests.then_some(ports)
    })
}

/// A virtual machine's side of the stream.
fn connect(path: &std::path::Path) -> UnixStream {
    let guest = eventually("the guest connects", || UnixStream::connect(path).ok());
    guest.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    guest
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
}

fn every_frame_and_every_copy_is_accounted_for(world: &World) {
    let _up = world.up_with(BLUE);
    let _ann = world.sandbox("ann", "--network blue");
    let _bob = world.sandbox("bob", "--network blue");
    let socket = world.path("vm.sock");
    let line = format!(
        "attach --network blue,mac=02:00:00:00:00:40 --name vm --qemu {}",
        socket.display()
    );
    let mut attach = world.start(&line);
    attach.wait_for("netdev");
    let mut guest = connect(&socket);
    eventually("the guest's port is there", || (world.ports().len() == 3).then_some(()));
    let mut reader = guest.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut octets = [0; 65_536];
        while matches!(reader.read(&mut octets), Ok(1..)) {}
    });

    let mut command = world.weft_command("exec ann -- python3 -c");
    command.arg(NUISANCE);
    let nuisance = Program::start(command);
    let own = [2, 0, 0, 0, 0, 0x40];
    let mut sent = 0;
    for length in (0..80).chain([1513, 1514, 1515, 1518, 1519, 1522, 1600, 9000, 65_535, 65_553]) {
        for target in [[0xff; 6], own, [1, 0x80, 0xc2, 0, 0, 0], [2, 9, 9, 9, 9, 9], [0; 6]] {
            for source in [own, [0; 6], [3, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0x41]] {
                // Neither IP nor ARP, whose addresses are looked at before the length.
                let kind = if target[0] == 2 { [0x08, 0x00] } else { [0x88, 0xb5] };
                let mut frame = [&target[..], &source[..], &kind].concat();
                frame.resize(length.max(14), 0x45);
                guest.write_all(&framed(&frame[..length])).unwrap();
                sent += 1;
            }
        }
    }
    assert_eq!(nuisance.end().ok(), "done\n");
    eventually("all of the guest's frames are in", || {
        let ports = world.ports();
        let vm = ports.iter().find(|port| port.sandbox == "vm")?;
        (vm.received == sent).then_some(())
    });
    let ports = balanced(world);
    let ann = ports.iter().find(|port| port.sandbox == "ann").unwrap();
    // The kernel drops what comes faster than it is read.
    assert!(ann.received > 500 && ann.dropped > 100, "{ann:#?}");
    for reason in ["bad-source", "reserved", "spoofed-mac", "runt"] {
        assert!(world.dropped("vm", reason) > 0, "no {reason}: {:#?}", world.drops());
    }
    let is_size = |reason: &str| reason == "giant" || reason == "too-big";
    assert!(world.drops().iter().any(|line| is_size(&line.reason)), "{:#?}", world.drops());
    // By reason they add up to the same.
    for port in &ports {
        let lines = world.drops();
        let own = lines.iter().filter(|line| line.port == port.port);
        let by_reason: u64 = own.map(|line| line.count).sum();
        assert_eq!(by_reason, port.dropped + port.egress_dropped, "{port:#?} {lines:#?}");
    }
    // And all goes on.
    let bob = world.endpoint("bob").addresses[0].ip();
    world.exec("ann", &format!("ping -c 2 -i 0.1 -W 2 {bob}")).ok();
    // Also when a port that took part has gone.
    world.weft("stop bob").ok();
    let gone = balanced(world);
    assert!(gone.iter().any(|line| line.port.is_none() && line.transmitted > 0), "{gone:#?}");
}

fn a_guest_that_breaks_the_framing_is_hung_up_on_and_may_come_again(world: &World) {
    let _up = world.up_with(BLUE);
    let _ann = world.sandbox("ann", "--network blue");
    let socket = world.path("vm.sock");
    let line = format!("attach --network blue --name vm --qemu {}", socket.display());
    let mut attach = world.start(&line);
    attach.wait_for("netdev");
    for nonsense in [vec![0xff; 100], vec![0, 1, 0, 0x20, 1, 2, 3], vec![0x7f; 4]] {
        let mut guest = connect(&socket);
        eventually("the guest's port is there", || (world.ports().len() == 2).then_some(()));
        guest.write_all(&nonsense).unwrap();
        if nonsense[0] != 0 {
            // Nothing after such a length can be understood.
            guest.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut rest = Vec::new();
            let _ = guest.read_to_end(&mut rest);
        }
        drop(guest);
        eventually("its port is gone", || (world.ports().len() == 1).then_some(()));
        assert!(!attach.has_ended(), "{}", attach.err());
    }
    let _guest = connect(&socket);
    eventually("another guest is welcome", || (world.ports().len() == 2).then_some(()));
}

fn a_guest_that_does_not_read_harms_nobody_else(world: &World) {
    let _up = world.up_with("[networks.blue]\nsubnets = [\"10.201.0.0/24\"]\n");
    let _ann = world.sandbox("ann", "--network blue,ip=10.201.0.11");
    let _bob = world.sandbox("bob", "--network blue,ip=10.201.0.12");
    let socket = world.path("vm.sock");
    let line = format!("attach --network blue --name vm --qemu {}", socket.display());
    let mut attach = world.start(&line);
    attach.wait_for("netdev");
    let mut guest = connect(&socket);
    eventually("the guest's port is there", || (world.ports().len() == 3).then_some(()));
    let flood = "
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
frame = b'\\xff'*6 + s.getsockname()[4] + b'\\x88\\xb5' + bytes(1400)
for _ in range(3000): s.send(frame)
";
    let mut command = world.weft_command("exec ann -- python3 -c");
    command.arg(flood);
    Program::start(command).end().ok();
    eventually("its queue is full", || (world.dropped("vm", "queue-full") > 0).then_some(()));
    world.exec("ann", "ping -c 2 -i 0.1 -W 2 10.201.0.12").ok();
    balanced(world);

    // What it reads at last is whole frames, one after the other.
    guest.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut read = Vec::new();
    let mut octets = [0; 65_536];
    while let Ok(len @ 1..) = guest.read(&mut octets) {
        read.extend_from_slice(&octets[..len]);
    }
    let mut rest = &read[..];
    let mut frames = 0;
    while let Some((prefix, after)) = rest.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*prefix) as usize;
        assert!((14..=1514).contains(&len), "frame {frames} has {len} octets");
        assert!(after.len() >= len, "frame {frames} is cut off");
        rest = &after[len..];
        frames += 1;
    }
    assert!(rest.is_empty() && frames > 10, "{frames} frames, {} octets left", rest.len());
}

/// Sends frames of many lengths for a while, and reads what comes; how many were sent.
fn chatter(mut guest: UnixStream, own: [u8; 6], target: [u8; 6], until: Instant) -> u64 {
    let mut reader = guest.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut octets = [0; 65_536];
        while matches!(reader.read(&mut octets), Ok(1..)) {}
    });
    let mut octets = Vec::new();
    for length in (14..1514).step_by(7) {
        let mut frame = [&target[..], &own[..], &[0x88, 0xb5]].concat();
        frame.resize(length, 0x55);
        octets.extend_from_slice(&framed(&frame));
    }
    let burst = (14..1514).step_by(7).count() as u64;
    let mut sent = 0;
    while Instant::now() < until {
        guest.write_all(&octets).unwrap();
        sent += burst;
    }
    // The connection stays until the frames have been counted.
    std::mem::forget(guest);
    sent
}

fn streams_that_change_workers_lose_nothing_and_keep_nobody_waiting(world: &World) {
    let _up = world.up_with("[appliance]\nworkers = 2\n[networks.blue]\n");
    let _ann = world.sandbox("ann", "--network blue");
    let _bob = world.sandbox("bob", "--network blue");
    let mac = |number: u8| [2, 0, 0, 0, 0x77, number];
    let mut attached = Vec::new();
    let mut guests = Vec::new();
    for number in 1..=4 {
        let socket = world.path(&format!("vm{number}.sock"));
        let line = format!(
            "attach --network blue,mac=02:00:00:00:77:0{number} --name vm{number} --qemu {}",
            socket.display()
        );
        let mut attach = world.start(&line);
        attach.wait_for("netdev");
        attached.push(attach);
        guests.push((number, connect(&socket)));
    }
    eventually("all ports are there", || (world.ports().len() == 6).then_some(()));
    let until = Instant::now() + Duration::from_secs(3);
    let senders: Vec<_> = guests
        .into_iter()
        .map(|(number, guest)| {
            // One to two, two to one, three to four, four to three.
            let target = mac(((number - 1) ^ 1) + 1);
            (number, std::thread::spawn(move || chatter(guest, mac(number), target, until)))
        })
        .collect();
    // Ports change hands when the first worker has most of a processor to itself, as it has unless
    // the machine is busy with other things.
    while Instant::now() < until && !world.ports().iter().any(|port| port.worker == Some(1)) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let bob = world.endpoint("bob").addresses[0].ip();
    world.exec("ann", &format!("ping -c 3 -i 0.1 -W 2 {bob}")).ok();
    for (number, sender) in senders {
        let sent = sender.join().unwrap();
        eventually(&format!("all frames of vm{number} are in"), || {
            let ports = world.ports();
            let port = ports.iter().find(|port| port.sandbox == format!("vm{number}"))?;
            (port.received == sent).then_some(())
        });
    }
    balanced(world);
}

/// How long the appliance may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Announces a sandbox of no program, and what the appliance answers.
fn announce(
    world: &World,
    kind: Kind,
    name: &str,
    sandbox: Option<Id>,
) -> (Lifeline, FromAppliance) {
    let mut lifeline =
        Lifeline::new(Client::new(world.socket()).attach(PATIENCE).unwrap()).unwrap();
    let request = AttachRequest {
        sandbox,
        name: Some(name.to_owned()),
        kind,
        pid: std::process::id(),
        command: Vec::new(),
        endpoints: vec![EndpointRequest { network: "blue".to_owned(), ..Default::default() }],
        declared: false,
    };
    lifeline.send(&FromSandbox::Attach(request), None).unwrap();
    let answer = lifeline.receive().unwrap().unwrap();
    (lifeline, answer)
}

#[track_caller]
fn assigned(answer: FromAppliance) -> (Id, Assigned) {
    let FromAppliance::Assigned { sandbox, mut endpoints, .. } = answer else {
        panic!("{answer:?}");
    };
    (sandbox, endpoints.remove(0))
}

fn a_life_line_ends_though_its_own_end_was_handed_in(world: &World) {
    let _up = world.up_with(BLUE);
    for is_port in [false, true] {
        let (mut eve, answer) = announce(world, Kind::Qemu, "eve", None);
        let endpoint = assigned(answer).1.id;
        let message = if is_port {
            FromSandbox::Port { endpoint }
        } else {
            FromSandbox::Running { pid: std::process::id() }
        };
        let own = eve.as_fd().try_clone_to_owned().unwrap();
        eve.send(&message, Some(own.as_fd())).unwrap();
        drop((eve, own));
        world.wait_until_gone("eve");
    }
}

fn nobody_takes_another_s_place(world: &World) {
    let _up = world.up_with(BLUE);
    let _ann = world.sandbox("ann", "--network blue");
    let _bob = world.sandbox("bob", "--network blue");
    let before: Vec<_> = world.ps().into_iter().map(|line| (line.id, line.endpoints)).collect();
    let (eve, answer) = announce(world, Kind::Run, "eve", Some(before[0].0));
    assert!(matches!(answer, FromAppliance::Refused(_)), "{answer:?}");
    drop(eve);
    let after: Vec<_> = world.ps().into_iter().map(|line| (line.id, line.endpoints)).collect();
    assert_eq!(after, before);
    let bob = after[1].1[0].addresses[0].ip();
    world.exec("ann", &format!("ping -c 1 -W 2 {bob}")).ok();
}
