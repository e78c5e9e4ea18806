//! The switch beside a naive bridge: one map from address to port, and a loop.
//!
//! Both are shown the same frames from ports that come, go and change networks, while time passes
//! and the old is aged out. They must agree on every verdict and, in the end, on every entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use weft_frame::MacAddr;
use weft_switch::{
    DropReason, Fdb, Group, Instant, NetworkId, PortConfig, PortId, Switch, Topology, Verdict,
};

const NETWORKS: u16 = 2;
const PORTS: u16 = 9;
const STATIONS: u8 = 12;
const MAX_AGE_S: u32 = 300;

#[derive(Clone, Debug)]
enum Step {
    Frame { ingress: u16, source: MacAddr, destination: MacAddr },
    Wait { seconds: u32 },
    Age,
    Attach { port: u16, network: u16, group: Option<u16>, isolated: bool },
    Detach { port: u16 },
    Forget { port: u16 },
    Fix { network: u16, address: MacAddr, port: u16 },
    Unfix { network: u16, address: MacAddr },
}

fn station() -> impl Strategy<Value = MacAddr> {
    (0..STATIONS).prop_map(|number| MacAddr([2, 0, 0, 0, 0, number]))
}

fn address() -> impl Strategy<Value = MacAddr> {
    prop_oneof![
        20 => station(),
        1 => Just(MacAddr([0xff; 6])),
        1 => Just(MacAddr([1, 0, 0x5e, 0, 0, 1])),
        1 => Just(MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e])),
        1 => Just(MacAddr([0; 6])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let port = 1..=PORTS;
    let network = 0..NETWORKS;
    prop_oneof![
        30 => (port.clone(), address(), address()).prop_map(|(ingress, source, destination)| {
            Step::Frame { ingress, source, destination }
        }),
        4 => (0..200_u32).prop_map(|seconds| Step::Wait { seconds }),
        3 => Just(Step::Age),
        4 => (port.clone(), network.clone(), prop::option::of(0..2_u16), any::<bool>()).prop_map(
            |(port, network, group, isolated)| Step::Attach { port, network, group, isolated }
        ),
        1 => port.clone().prop_map(|port| Step::Detach { port }),
        1 => port.clone().prop_map(|port| Step::Forget { port }),
        1 => (network.clone(), station(), port).prop_map(|(network, address, port)| {
            Step::Fix { network, address, port }
        }),
        1 => (network, station()).prop_map(|(network, address)| Step::Unfix { network, address }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    port: u16,
    heard: u32,
    fixed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    network: u16,
    group: Option<u16>,
    isolated: bool,
}

#[derive(Default)]
struct Bridge {
    now: u32,
    ports: BTreeMap<u16, Place>,
    rows: BTreeMap<(u16, MacAddr), Row>,
}

impl Bridge {
    fn floods_to(&self, ingress: u16) -> Vec<u16> {
        let from = self.ports[&ingress];
        self.ports
            .iter()
            .filter(|(port, to)| **port != ingress && to.network == from.network)
            .filter(|(_, to)| to.group.is_none() || to.group != from.group)
            .map(|(port, _)| *port)
            .collect()
    }

    fn forward(&mut self, ingress: u16, source: MacAddr, destination: MacAddr) -> Verdict {
        let Some(from) = self.ports.get(&ingress).copied() else {
            return Verdict::Drop(DropReason::Detached);
        };
        if source.0[0] & 1 == 1 || source.0 == [0; 6] {
            return Verdict::Drop(DropReason::BadSource);
        }
        if destination.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && destination.0[5] < 16 {
            return Verdict::Drop(DropReason::Reserved);
        }
        let heard = Row { port: ingress, heard: self.now, fixed: false };
        let row = self.rows.entry((from.network, source)).or_insert(heard);
        if row.fixed && row.port == ingress {
            row.heard = self.now;
        } else if !row.fixed {
            *row = heard;
        }
        let found = self.rows.get(&(from.network, destination)).map(|row| row.port);
        let egress = found
            .and_then(|port| Some((port, self.ports.get(&port)?)))
            .filter(|(_, to)| to.network == from.network);
        match egress {
            None if self.floods_to(ingress).is_empty() => Verdict::Drop(DropReason::Alone),
            None => Verdict::Flood,
            Some((egress, _)) if egress == ingress => Verdict::Drop(DropReason::Hairpin),
            Some((_, to)) if to.group.is_some() && to.group == from.group => {
                let reasons = [DropReason::SplitHorizon, DropReason::Isolated];
                Verdict::Drop(reasons[usize::from(from.isolated)])
            }
            Some((egress, _)) => Verdict::Forward(port_id(egress)),
        }
    }
}

fn port_id(number: u16) -> PortId {
    PortId::new(number).expect("ports start at 1")
}

fn draw(ports: &BTreeMap<u16, Place>, fdbs: &[Arc<Fdb>]) -> Topology {
    let networks = (0..).map(NetworkId).zip(fdbs);
    let builder = networks.fold(Topology::builder(), |b, (id, fdb)| b.network(id, fdb.clone()));
    let all = ports.iter().fold(builder, |builder, (port, place)| {
        let Place { network, group, isolated } = *place;
        let open = PortConfig::open(NetworkId(network));
        builder.port(port_id(*port), PortConfig { group: group.map(Group), isolated, ..open })
    });
    all.build()
}

fn frame(destination: MacAddr, source: MacAddr) -> Vec<u8> {
    [&destination.0[..], &source.0, &[0x88, 0xb5], &[0; 46]].concat()
}

struct Both {
    bridge: Bridge,
    fdbs: Vec<Arc<Fdb>>,
    topology: Topology,
}

impl Both {
    fn new(seed: u64) -> Self {
        let fdbs: Vec<_> = (0..NETWORKS).map(|_| Arc::new(Fdb::new(256, 256, seed))).collect();
        let place = |port| Place { network: port % NETWORKS, group: None, isolated: false };
        let ports = (1..=PORTS).map(|port| (port, place(port))).collect();
        let topology = draw(&ports, &fdbs);
        Self { bridge: Bridge { ports, ..Bridge::default() }, fdbs, topology }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let now = Instant::from_seconds(self.bridge.now);
        match *step {
            Step::Frame { ingress, source, destination } => {
                let port = port_id(ingress);
                let switch = Switch::new(&self.topology);
                let got = switch.forward(port, &frame(destination, source), now);
                prop_assert_eq!(got, self.bridge.forward(ingress, source, destination));
                if got == Verdict::Flood {
                    let got: Vec<u16> = self.topology.flood(port).map(PortId::get).collect();
                    prop_assert_eq!(got, self.bridge.floods_to(ingress));
                }
            }
            Step::Wait { seconds } => self.bridge.now += seconds,
            Step::Age => {
                for fdb in &self.fdbs {
                    let mut from = fdb.age(now, MAX_AGE_S, 0, 100);
                    while from != 0 {
                        from = fdb.age(now, MAX_AGE_S, from, 100);
                    }
                }
                let now = self.bridge.now;
                self.bridge.rows.retain(|_, row| row.fixed || now - row.heard <= MAX_AGE_S);
            }
            Step::Attach { port, network, group, isolated } => {
                self.bridge.ports.insert(port, Place { network, group, isolated });
                self.topology = draw(&self.bridge.ports, &self.fdbs);
            }
            Step::Detach { port } => {
                self.bridge.ports.remove(&port);
                self.topology = draw(&self.bridge.ports, &self.fdbs);
            }
            Step::Forget { port } => {
                self.fdbs.iter().for_each(|fdb| _ = fdb.forget(port_id(port)));
                self.bridge.rows.retain(|_, row| row.port != port);
            }
            Step::Fix { network, address, port } => {
                let fdb = &self.fdbs[usize::from(network)];
                prop_assert_eq!(fdb.insert_static(address, port_id(port)), Ok(()));
                self.bridge.rows.insert((network, address), Row { port, heard: 0, fixed: true });
            }
            Step::Unfix { network, address } => {
                let key = (network, address);
                let fixed = self.bridge.rows.get(&key).is_some_and(|row| row.fixed);
                let fdb = &self.fdbs[usize::from(network)];
                prop_assert_eq!(fdb.remove_static(address), fixed);
                if fixed {
                    self.bridge.rows.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let mut rows = BTreeMap::new();
        for (network, fdb) in (0..).zip(&self.fdbs) {
            for entry in fdb.entries() {
                let row =
                    Row { port: entry.port.get(), heard: entry.heard, fixed: entry.is_static };
                prop_assert_eq!(rows.insert((network, entry.address), row), None, "twice");
            }
            for port in 1..=PORTS {
                let expected = self
                    .bridge
                    .rows
                    .iter()
                    .filter(|((of, _), row)| *of == network && row.port == port && !row.fixed)
                    .count();
                prop_assert_eq!(fdb.learned_by(port_id(port)), expected);
            }
        }
        prop_assert_eq!(rows, self.bridge.rows.clone());
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_switch_and_a_naive_bridge_agree(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut both = Both::new(seed);
        for step in &steps {
            both.take(step)?;
        }
        both.compare()?;
    }

    #[test]
    fn no_frame_makes_the_switch_panic(
        header in prop::sample::select(vec![0x0800_u16, 0x0806, 0x86dd, 0x8100, 0x88a8]),
        payload in prop::collection::vec(any::<u8>(), 0..120),
        next in prop::sample::select(vec![0_u8, 6, 17, 43, 44, 51, 58, 60]),
        cut in 0..200_usize,
    ) {
        use weft_switch::{Binding, Guard};
        let source = MacAddr([2, 0, 0, 0, 0, 1]);
        let mut frame = [&[0xff; 6][..], &source.0, &header.to_be_bytes(), &payload].concat();
        if header == 0x86dd && frame.len() > 20 {
            // Random octets seldom look like an extension header.
            frame[14] = 0x60;
            frame[20] = next;
        }
        frame.truncate(cut);
        let guard = Guard::On(Binding::new(source, &[[10, 0, 0, 1].into()], true));
        let config = PortConfig { guard, ..PortConfig::open(NetworkId(1)) };
        let topology = Topology::builder()
            .network(NetworkId(1), Arc::new(Fdb::new(16, 4, 0)))
            .port(port_id(1), config)
            .port(port_id(2), PortConfig::open(NetworkId(1)))
            .build();
        let verdict = Switch::new(&topology).forward(port_id(1), &frame, Instant::START);
        let runt = weft_frame::Header::parse(&frame).is_none();
        prop_assert_eq!(verdict == Verdict::Drop(DropReason::Runt), runt);
    }
}
