//! A switch in thirty lines: three ports, two stations, and what it makes of their frames.

use std::sync::Arc;

use weft_frame::MacAddr;
use weft_switch::{Fdb, Instant, NetworkId, PortConfig, PortId, Switch, Topology};

const ANN: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const EVERYONE: MacAddr = MacAddr([0xff; 6]);

fn main() {
    let home = NetworkId(1);
    let fdb = Arc::new(Fdb::new(1024, 128, 0x5eed));
    let ports = [1, 2, 3].map(|number| PortId::new(number).expect("not 0"));
    let picture = ports
        .into_iter()
        .fold(Topology::builder(), |picture, port| picture.port(port, PortConfig::open(home)))
        .network(home, Arc::clone(&fdb))
        .build();
    let switch = Switch::new(&picture);

    let frames = [(0, ANN, EVERYONE), (1, BOB, ANN), (0, ANN, BOB), (2, ANN, BOB), (1, BOB, ANN)];
    for (second, (place, source, destination)) in (0..).zip(frames) {
        let frame = [&destination.0[..], &source.0, &[0x88, 0xb5], b"hello"].concat();
        let verdict = switch.forward(ports[place], &frame, Instant::from_seconds(second));
        println!("{second} s  {}  {source} -> {destination}  {verdict:?}", ports[place]);
    }
    for entry in fdb.entries() {
        println!("{} is behind {}, heard at {} s", entry.address, entry.port, entry.heard);
    }
}
