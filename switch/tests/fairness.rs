//! A small table under any load keeps its bounds and its counts, and says what it did.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_frame::MacAddr;
use weft_switch::{Fdb, Instant, Learn, PortId};

fn station(number: u16) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | u64::from(number) << 3)
}

fn port_id(number: u16) -> PortId {
    PortId::new(number).expect("ports start at 1")
}

fn rows(fdb: &Fdb) -> BTreeMap<MacAddr, PortId> {
    fdb.entries().map(|entry| (entry.address, entry.port)).collect()
}

fn held(rows: &BTreeMap<MacAddr, PortId>, port: PortId) -> usize {
    rows.values().filter(|of| **of == port).count()
}

/// Compares the table before and after with what `learn` said it did.
fn check(
    learned: Learn,
    (address, ingress): (MacAddr, PortId),
    before: &BTreeMap<MacAddr, PortId>,
    after: &BTreeMap<MacAddr, PortId>,
    share: usize,
) -> Result<(), TestCaseError> {
    let mut expected = before.clone();
    match learned {
        Learn::Known => prop_assert_eq!(before.get(&address), Some(&ingress)),
        Learn::New => prop_assert_eq!(expected.insert(address, ingress), None),
        Learn::Moved { from } => prop_assert_eq!(expected.insert(address, ingress), Some(from)),
        Learn::Replaced { loser } => {
            let lost: Vec<_> = before.iter().filter(|row| !after.contains_key(row.0)).collect();
            prop_assert_eq!(lost.len(), 1);
            prop_assert_eq!(*lost[0].1, loser);
            prop_assert!(loser == ingress || held(before, loser) > held(before, ingress));
            expected.remove(&lost[0].0.clone());
            prop_assert_eq!(expected.insert(address, ingress), None);
        }
        Learn::ShareFull => {
            prop_assert_eq!(held(before, ingress), share);
            if !after.contains_key(&address) {
                expected.remove(&address);
            }
        }
        Learn::TableFull => prop_assert!(!before.contains_key(&address)),
        Learn::Held { .. } | Learn::NotAStation | Learn::Busy => prop_assert!(false, "{learned:?}"),
    }
    prop_assert_eq!(after, &expected);
    Ok(())
}

proptest! {
    #[test]
    fn every_change_is_the_one_that_was_told_and_every_bound_holds(
        seed in any::<u64>(),
        share in 1..24_usize,
        frames in prop::collection::vec((0..60_u16, 1..6_u16, 0..8_u32), 1..250),
    ) {
        let fdb = Fdb::new(24, share, seed);
        let mut now_s = 0;
        for (number, port, wait) in frames {
            now_s += wait;
            let (address, ingress) = (station(number), port_id(port));
            let before = rows(&fdb);
            let learned = fdb.learn(address, ingress, Instant::from_seconds(now_s));
            let after = rows(&fdb);
            check(learned, (address, ingress), &before, &after, fdb.share())?;
            prop_assert!(after.len() <= fdb.capacity());
            prop_assert_eq!(after.len(), fdb.len());
            for port in (1..6).map(port_id) {
                prop_assert_eq!(held(&after, port), fdb.learned_by(port));
                prop_assert!(fdb.learned_by(port) <= fdb.share());
            }
        }
    }
}
