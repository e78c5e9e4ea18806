//! A network with an uplink beside a naive model: a list of endpoints, and the rules as sentences.
//!
//! Both are shown the same frames from endpoints and from outside, in each mode, while endpoints
//! come, go and learn nothing from outside. They must agree on who gets a copy, or on the reason
//! why nobody does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use weft_frame::MacAddr;
use weft_switch::{
    DropReason, Fdb, Group, Instant, NetworkId, PortConfig, PortId, StormControl, Switch, Topology,
    UplinkMode, Verdict,
};

const HOME: NetworkId = NetworkId(1);
const AWAY: NetworkId = NetworkId(2);
/// The uplink's number is neither the first nor the last.
const UPLINK: u16 = 5;
const PORTS: u16 = 9;
const STATIONS: u8 = 14;
const MODES: [UplinkMode; 4] =
    [UplinkMode::Bridge, UplinkMode::Private, UplinkMode::Vepa, UplinkMode::Passthru];
const EVERYONE: MacAddr = MacAddr([0xff; 6]);

#[derive(Clone, Debug)]
enum Step {
    Frame { ingress: u16, source: MacAddr, destination: MacAddr, tagged: bool },
    Attach { port: u16, isolated: bool },
    Detach { port: u16 },
}

/// What becomes of a frame: the ports that get a copy, or why none does.
type Fate = Result<BTreeSet<u16>, DropReason>;

struct Naive {
    mode: UplinkMode,
    /// The endpoints, each with whether it is isolated.
    endpoints: BTreeMap<u16, bool>,
    /// Where stations of ours are.
    places: BTreeMap<MacAddr, u16>,
}

impl Naive {
    fn fate(&mut self, ingress: u16, source: MacAddr, destination: MacAddr, tagged: bool) -> Fate {
        if ingress == UPLINK {
            self.outside_in(source, destination)
        } else {
            self.inside_out(ingress, source, destination, tagged)
        }
    }

    fn inside_out(
        &mut self,
        ingress: u16,
        source: MacAddr,
        destination: MacAddr,
        tagged: bool,
    ) -> Fate {
        let Some(isolated) = self.endpoints.get(&ingress).copied() else {
            return Err(DropReason::Detached);
        };
        if tagged {
            return Err(DropReason::Tagged);
        }
        self.places.insert(source, ingress);
        if self.mode != UplinkMode::Bridge {
            return Ok(BTreeSet::from([UPLINK]));
        }
        let may_reach = |port: u16| !(isolated && self.endpoints[&port]);
        if destination.is_group() {
            let others = self.endpoints.keys().filter(|port| **port != ingress);
            let reached = others.copied().filter(|port| may_reach(*port));
            return Ok(reached.chain([UPLINK]).collect());
        }
        match self.place(destination) {
            None => Ok(BTreeSet::from([UPLINK])),
            Some(port) if port == ingress => Err(DropReason::Hairpin),
            Some(port) if !may_reach(port) => Err(DropReason::Isolated),
            Some(port) => Ok(BTreeSet::from([port])),
        }
    }

    fn outside_in(&self, source: MacAddr, destination: MacAddr) -> Fate {
        let sender = self.place(source);
        if sender.is_some() && self.mode != UplinkMode::Vepa {
            return Err(DropReason::Reflected);
        }
        let mut reached: BTreeSet<u16> = if destination.is_group() {
            self.endpoints.keys().copied().collect()
        } else {
            self.place(destination).into_iter().collect()
        };
        if reached.is_empty() && self.mode == UplinkMode::Passthru {
            reached = self.endpoints.keys().copied().collect();
        }
        match (reached.is_empty(), sender.is_some_and(|sender| reached.remove(&sender))) {
            (true, _) if destination.is_group() => Err(DropReason::Alone),
            (true, _) => Err(DropReason::Stranger),
            (false, true) if reached.is_empty() => Err(DropReason::Reflected),
            (false, _) => Ok(reached),
        }
    }

    fn place(&self, station: MacAddr) -> Option<u16> {
        let port = self.places.get(&station)?;
        self.endpoints.contains_key(port).then_some(*port)
    }

    fn draw(&self, fdb: &Arc<Fdb>) -> Topology {
        let uplink = PortConfig { uplink: Some(self.mode), ..PortConfig::open(HOME) };
        let builder = Topology::builder()
            .network(HOME, Arc::clone(fdb))
            .network(AWAY, Arc::new(Fdb::new(16, 16, 0)))
            .port(port(UPLINK), uplink);
        let endpoint = |isolated: bool| PortConfig {
            group: isolated.then_some(Group(1)),
            isolated,
            ..PortConfig::open(HOME)
        };
        let all = self.endpoints.iter().fold(builder, |builder, (number, isolated)| {
            builder.port(port(*number), endpoint(*isolated))
        });
        all.build()
    }
}

fn port(number: u16) -> PortId {
    PortId::new(number).expect("ports start at 1")
}

fn station(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn frame(destination: MacAddr, source: MacAddr, tagged: bool) -> Vec<u8> {
    let tag: &[u8] = if tagged { &[0x81, 0, 0, 7] } else { &[] };
    [&destination.0[..], &source.0, tag, &[0x88, 0xb5], &[0; 46]].concat()
}

/// Who gets a copy, by the verdict and the topology.
fn fate(topology: &Topology, ingress: u16, frame: &[u8]) -> Fate {
    let all = || topology.flood(port(ingress)).map(PortId::get);
    match Switch::new(topology).forward(port(ingress), frame, Instant::START) {
        Verdict::Forward(egress) => Ok(BTreeSet::from([egress.get()])),
        Verdict::Flood => Ok(all().collect()),
        Verdict::FloodExcept(sender) => Ok(all().filter(|port| *port != sender.get()).collect()),
        Verdict::Gateway => panic!("these networks have none"),
        Verdict::Drop(reason) => Err(reason),
    }
}

fn address() -> impl Strategy<Value = MacAddr> {
    prop_oneof![
        6 => (0..STATIONS).prop_map(station),
        1 => Just(EVERYONE),
        1 => Just(MacAddr([1, 0, 0x5e, 0, 0, 1])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let endpoint = (1..=PORTS).prop_filter("not the uplink", |number| *number != UPLINK);
    let ingress = prop_oneof![2 => 1..=PORTS, 1 => Just(UPLINK)];
    prop_oneof![
        20 => (ingress, (0..STATIONS).prop_map(station), address(), prop::bool::weighted(0.1))
            .prop_map(|(ingress, source, destination, tagged)| {
                Step::Frame { ingress, source, destination, tagged }
            }),
        2 => (endpoint.clone(), any::<bool>())
            .prop_map(|(port, isolated)| Step::Attach { port, isolated }),
        1 => endpoint.prop_map(|port| Step::Detach { port }),
    ]
}

proptest! {
    #[test]
    fn a_network_with_an_uplink_and_a_naive_one_agree(
        mode in prop::sample::select(MODES.to_vec()),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let fdb = Arc::new(Fdb::new(256, 256, 1));
        let endpoints = BTreeMap::from([(1, false), (2, false), (8, true), (9, true)]);
        let mut naive = Naive { mode, endpoints, places: BTreeMap::new() };
        let mut topology = naive.draw(&fdb);
        for step in steps {
            match step {
                Step::Frame { ingress, source, destination, tagged } => {
                    let tagged = tagged && ingress != UPLINK;
                    let got = fate(&topology, ingress, &frame(destination, source, tagged));
                    prop_assert_eq!(got, naive.fate(ingress, source, destination, tagged));
                }
                Step::Attach { port, isolated } => {
                    naive.endpoints.insert(port, isolated);
                    topology = naive.draw(&fdb);
                }
                Step::Detach { port } => {
                    naive.endpoints.remove(&port);
                    topology = naive.draw(&fdb);
                }
            }
        }
        // Nothing was ever learned from outside.
        prop_assert_eq!(fdb.learned_by(port(UPLINK)), 0);
    }
}

#[test]
#[rustfmt::skip]
fn each_mode_is_as_the_kernel_has_it() {
    use UplinkMode::{Bridge, Passthru, Private, Vepa};
    // Ann is behind port 1, Bob behind 2; Otto is outside, and so is Zoe, whom nobody knows.
    let (ann, bob, otto, zoe) = (station(1), station(2), station(3), station(4));
    let out = || Ok(BTreeSet::from([UPLINK]));
    let to = |ports: &[u16]| Ok(ports.iter().copied().collect());
    let cases: [(UplinkMode, u16, MacAddr, MacAddr, Fate); 24] = [
        (Bridge,   1,      ann,  bob,      to(&[2])),
        (Private,  1,      ann,  bob,      out()),
        (Vepa,     1,      ann,  bob,      out()),
        (Bridge,   1,      ann,  otto,     out()),
        (Private,  1,      ann,  otto,     out()),
        (Vepa,     1,      ann,  zoe,      out()),
        (Bridge,   1,      ann,  EVERYONE, to(&[2, UPLINK])),
        (Private,  1,      ann,  EVERYONE, out()),
        (Vepa,     1,      ann,  EVERYONE, out()),
        (Passthru, 1,      ann,  EVERYONE, out()),
        (Bridge,   UPLINK, otto, ann,      to(&[1])),
        (Private,  UPLINK, otto, bob,      to(&[2])),
        (Bridge,   UPLINK, otto, EVERYONE, to(&[1, 2])),
        (Private,  UPLINK, otto, EVERYONE, to(&[1, 2])),
        (Vepa,     UPLINK, otto, EVERYONE, to(&[1, 2])),
        (Bridge,   UPLINK, otto, zoe,      Err(DropReason::Stranger)),
        (Vepa,     UPLINK, otto, zoe,      Err(DropReason::Stranger)),
        (Passthru, UPLINK, otto, zoe,      to(&[1, 2])),
        // What a hairpin outside sends back.
        (Bridge,   UPLINK, ann,  bob,      Err(DropReason::Reflected)),
        (Private,  UPLINK, ann,  bob,      Err(DropReason::Reflected)),
        (Vepa,     UPLINK, ann,  bob,      to(&[2])),
        (Bridge,   UPLINK, ann,  EVERYONE, Err(DropReason::Reflected)),
        (Vepa,     UPLINK, ann,  EVERYONE, to(&[2])),
        (Vepa,     UPLINK, ann,  ann,      Err(DropReason::Reflected)),
    ];
    for (mode, ingress, source, destination, expected) in cases {
        let fdb = Arc::new(Fdb::new(64, 16, 1));
        fdb.insert_static(ann, port(1)).expect("there is room");
        fdb.insert_static(bob, port(2)).expect("there is room");
        let endpoints = BTreeMap::from([(1, false), (2, false)]);
        let naive = Naive { mode, endpoints, places: BTreeMap::new() };
        let got = fate(&naive.draw(&fdb), ingress, &frame(destination, source, false));
        assert_eq!(got, expected, "{mode:?}: {source} -> {destination} by {ingress}");
    }
}

#[test]
fn storm_control_holds_for_what_is_for_many_in_every_mode_and_direction() {
    for mode in MODES {
        for ingress in [1, UPLINK] {
            let storm = || Some(Arc::new(StormControl::new(1, 1)));
            let open = PortConfig::open(HOME);
            let uplink = PortConfig { uplink: Some(mode), storm: storm(), ..open.clone() };
            let topology = Topology::builder()
                .network(HOME, Arc::new(Fdb::new(64, 16, 1)))
                .port(port(UPLINK), uplink)
                .port(port(1), PortConfig { storm: storm(), ..open.clone() })
                .port(port(2), open)
                .build();
            let many = frame(EVERYONE, station(9), false);
            assert!(fate(&topology, ingress, &many).is_ok(), "{mode:?} {ingress}");
            assert_eq!(fate(&topology, ingress, &many), Err(DropReason::Storm));
        }
    }
}
