//! The decision: where does this frame go?
//!
//! [`Switch::forward`] borrows a frame and returns a [`Verdict`]. It learns, and takes a token when
//! it floods; it does nothing else. Reading it from top to bottom is reading the rules of the
//! network in the order in which they apply.

use weft_frame::Header;

use crate::drops::DropReason;
use crate::port::PortId;
use crate::time::Instant;
use crate::topology::{Attachment, Topology, same_group};
use crate::uplink::Crossing;

/// What is to happen to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It leaves by one port.
    Forward(PortId),
    /// It leaves by every port that [`Topology::flood`] lists for its ingress, at least one.
    Flood,
    /// The same, save this port, at least by one: the frame came from there, and the switch beyond
    /// the uplink sent it back.
    FloodExcept(PortId),
    /// It ends here.
    Drop(DropReason),
}

/// The switch of all networks in one picture.
#[derive(Clone, Copy, Debug)]
pub struct Switch<'t> {
    topology: &'t Topology,
}

impl<'t> Switch<'t> {
    /// Switches by this picture.
    #[must_use]
    pub const fn new(topology: &'t Topology) -> Self {
        Self { topology }
    }

    /// Gives the picture it switches by.
    #[must_use]
    pub const fn topology(&self) -> &'t Topology {
        self.topology
    }

    /// Decides what happens to a frame that came in by `ingress`, and learns its sender.
    ///
    /// `frame` begins with the destination address. `now` is the turn's one reading of the clock.
    #[inline]
    pub fn forward(&self, ingress: PortId, frame: &[u8], now: Instant) -> Verdict {
        let Some(header) = Header::parse(frame) else {
            return Verdict::Drop(DropReason::Runt);
        };
        let Some(from) = self.topology.attachment(ingress) else {
            return Verdict::Drop(DropReason::Detached);
        };
        let Some(fdb) = self.topology.fdb(from.config.network) else {
            return Verdict::Drop(DropReason::Detached);
        };
        if header.source.is_group() || header.source.is_zero() {
            return Verdict::Drop(DropReason::BadSource);
        }
        if let Err(reason) = from.config.guard.check(&header, frame) {
            return Verdict::Drop(reason);
        }
        if header.destination.is_reserved() {
            return Verdict::Drop(DropReason::Reserved);
        }

        if let Some(uplink) = from.uplink {
            let topology = self.topology;
            return Crossing { topology, from, fdb, uplink, ingress, now }.decide(&header);
        }

        // Learn before looking up: a station that moved must win over where it used to be.
        fdb.learn(header.source, ingress, now);

        if header.destination.is_group() {
            return flood(from, now);
        }
        let Some(egress) = fdb.lookup(header.destination) else {
            return flood(from, now);
        };
        match self.topology.port(egress) {
            // The FDB outlives the picture: the port may be gone and not yet forgotten.
            None => flood(from, now),
            Some(to) if to.network != from.config.network => flood(from, now),
            Some(_) if egress == ingress => Verdict::Drop(DropReason::Hairpin),
            Some(to) if same_group(from.config.group, to.group) => Verdict::Drop(separation(from)),
            Some(_) => Verdict::Forward(egress),
        }
    }
}

/// Floods, unless there is nobody to hear it or the port has flooded enough.
pub(crate) fn flood(from: &Attachment, now: Instant) -> Verdict {
    if from.alone {
        return Verdict::Drop(DropReason::Alone);
    }
    match &from.config.storm {
        Some(storm) if !storm.allow(now) => Verdict::Drop(DropReason::Storm),
        Some(_) | None => Verdict::Flood,
    }
}

/// Names what keeps two ports of one group apart.
const fn separation(from: &Attachment) -> DropReason {
    if from.config.isolated { DropReason::Isolated } else { DropReason::SplitHorizon }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::net::IpAddr;

    use weft_frame::MacAddr;

    use crate::fdb::Fdb;
    use crate::guard::{Binding, Guard};
    use crate::port::{Group, NetworkId, PortConfig};
    use crate::storm::StormControl;

    const T0: Instant = Instant::START;
    const HOME: NetworkId = NetworkId(1);
    const AWAY: NetworkId = NetworkId(2);

    const P1: PortId = port(1);
    const P2: PortId = port(2);
    const I3: PortId = port(3);
    const I4: PortId = port(4);
    const G5: PortId = port(5);
    const S6: PortId = port(6);
    const V8: PortId = port(8);
    const V9: PortId = port(9);
    const A20: PortId = port(20);
    const NONE: PortId = port(77);

    const ANN: MacAddr = station(1);
    const BOB: MacAddr = station(2);
    const IDA: MacAddr = station(3);
    const IAN: MacAddr = station(4);
    const GUS: MacAddr = station(5);
    const SAM: MacAddr = station(6);
    const EVE: MacAddr = station(8);
    const YAN: MacAddr = station(9);
    const ABE: MacAddr = station(20);
    const ZOE: MacAddr = station(99);
    const OUT: MacAddr = station(77);
    const NIL: MacAddr = MacAddr([0; 6]);
    const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    const EVERYONE: MacAddr = MacAddr([0xff; 6]);
    const BRIDGES: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]);

    /// Ann is behind P1, Bob behind P2. Ida and Ian are isolated behind I3 and I4. Gus is guarded
    /// behind G5; Sam may flood one frame a second from S6. V8 and V9 lead to remote VTEPs; Eve is
    /// behind V8, Yan behind V9. Out is behind a port that is gone. Abe lives in another network.
    fn acquainted() -> Topology {
        let home = Arc::new(Fdb::new(64, 16, 1));
        let places = [(ANN, P1), (BOB, P2), (IDA, I3), (IAN, I4), (GUS, G5), (SAM, S6)];
        for (address, port) in places.into_iter().chain([(EVE, V8), (YAN, V9), (OUT, NONE)]) {
            home.learn(address, port, T0);
        }
        // What was learned from a port before it joined another network leads nowhere.
        home.learn(ABE, A20, T0);
        let open = PortConfig::open(HOME);
        let isolated = PortConfig { group: Some(Group(2)), isolated: true, ..open.clone() };
        let vtep = PortConfig { group: Some(Group(1)), ..open.clone() };
        let addresses = [IpAddr::from([10, 0, 0, 5])];
        let guard = Guard::On(Binding::new(GUS, &addresses, false));
        let storm = Some(Arc::new(StormControl::new(1, 1)));
        Topology::builder()
            .network(HOME, home)
            .network(AWAY, Arc::new(Fdb::new(64, 16, 1)))
            .port(P1, open.clone())
            .port(P2, open.clone())
            .port(I3, isolated.clone())
            .port(I4, isolated)
            .port(G5, PortConfig { guard, ..open.clone() })
            .port(S6, PortConfig { storm, ..open })
            .port(V8, vtep.clone())
            .port(V9, vtep)
            .port(A20, PortConfig::open(AWAY))
            .build()
    }

    const fn port(number: u16) -> PortId {
        PortId::new(number).expect("a constant above 0")
    }

    const fn station(number: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, number])
    }

    fn frame(destination: MacAddr, source: MacAddr) -> Vec<u8> {
        [&destination.0[..], &source.0, &[0x88, 0xb5, 1, 2, 3, 4]].concat()
    }

    #[test]
    #[rustfmt::skip]
    fn a_frame_goes_to_its_station_or_to_everyone_or_nowhere() {
        let cases = [
            // ingress  source  destination  verdict
            (P1,        ANN,    BOB,         Verdict::Forward(P2)),
            (P1,        ZOE,    BOB,         Verdict::Forward(P2)),
            (P1,        ANN,    EVE,         Verdict::Forward(V8)),
            (P1,        ANN,    IDA,         Verdict::Forward(I3)),
            (V8,        EVE,    ANN,         Verdict::Forward(P1)),
            (P1,        ANN,    ZOE,         Verdict::Flood),
            (P1,        ANN,    EVERYONE,    Verdict::Flood),
            (P1,        ANN,    GROUP,       Verdict::Flood),
            (V8,        EVE,    EVERYONE,    Verdict::Flood),
            (P1,        ANN,    OUT,         Verdict::Flood),
            (P1,        ANN,    ABE,         Verdict::Flood),
            (P1,        ANN,    NIL,         Verdict::Flood),
            (P1,        ANN,    ANN,         Verdict::Drop(DropReason::Hairpin)),
            (P2,        ANN,    BOB,         Verdict::Drop(DropReason::Hairpin)),
            (P1,        BOB,    BOB,         Verdict::Drop(DropReason::Hairpin)),
            (V8,        EVE,    YAN,         Verdict::Drop(DropReason::SplitHorizon)),
            (I3,        IDA,    IAN,         Verdict::Drop(DropReason::Isolated)),
            (I3,        IDA,    BOB,         Verdict::Forward(P2)),
            (P1,        GROUP,  BOB,         Verdict::Drop(DropReason::BadSource)),
            (P1,        NIL,    BOB,         Verdict::Drop(DropReason::BadSource)),
            (P1,        ANN,    BRIDGES,     Verdict::Drop(DropReason::Reserved)),
            (G5,        GUS,    BOB,         Verdict::Forward(P2)),
            (G5,        ANN,    BOB,         Verdict::Drop(DropReason::SpoofedMac)),
            (G5,        ANN,    BRIDGES,     Verdict::Drop(DropReason::SpoofedMac)),
            (A20,       ABE,    EVERYONE,    Verdict::Drop(DropReason::Alone)),
            (A20,       ABE,    BOB,         Verdict::Drop(DropReason::Alone)),
            (NONE,      OUT,    BOB,         Verdict::Drop(DropReason::Detached)),
        ];
        for (ingress, source, destination, verdict) in cases {
            let topology = acquainted();
            let got = Switch::new(&topology).forward(ingress, &frame(destination, source), T0);
            assert_eq!(got, verdict, "{ingress}: {source} -> {destination}");
        }
    }

    #[test]
    fn a_frame_without_a_whole_header_is_a_runt_before_it_is_anything_else() {
        let topology = acquainted();
        let whole = frame(BOB, ANN);
        for len in 0..14 {
            for ingress in [P1, NONE] {
                let got = Switch::new(&topology).forward(ingress, &whole[..len], T0);
                assert_eq!(got, Verdict::Drop(DropReason::Runt), "{len} octets from {ingress}");
            }
        }
    }

    #[test]
    fn what_is_dropped_before_learning_teaches_nothing() {
        let topology = acquainted();
        let switch = Switch::new(&topology);
        let before = topology.fdb(HOME).unwrap().len();
        for (ingress, source, destination) in
            [(P1, GROUP, BOB), (P1, ZOE, BRIDGES), (G5, ZOE, BOB), (NONE, ZOE, BOB)]
        {
            let got = switch.forward(ingress, &frame(destination, source), T0);
            assert!(matches!(got, Verdict::Drop(_)), "{got:?}");
        }
        assert_eq!(topology.fdb(HOME).unwrap().len(), before);
        assert_eq!(topology.fdb(HOME).unwrap().lookup(ZOE), None);
    }

    #[test]
    fn storm_control_ends_floods_and_spares_what_has_a_destination() {
        let topology = acquainted();
        let switch = Switch::new(&topology);
        let seconds = Instant::from_seconds;
        let cases = [
            (T0, BOB, Verdict::Forward(P2)),
            (T0, EVERYONE, Verdict::Flood),
            (T0, EVERYONE, Verdict::Drop(DropReason::Storm)),
            (T0, GROUP, Verdict::Drop(DropReason::Storm)),
            (T0, ZOE, Verdict::Drop(DropReason::Storm)),
            (T0, BOB, Verdict::Forward(P2)),
            (seconds(1), ZOE, Verdict::Flood),
        ];
        for (now, destination, verdict) in cases {
            assert_eq!(switch.forward(S6, &frame(destination, SAM), now), verdict, "{destination}");
        }
    }
}
