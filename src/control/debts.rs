//! What goes back to remote IPAM drivers.
//!
//! When a network or an endpoint goes that had something of a driver's, the same turn notes in the
//! store that it is due (`owed/ID`), and after the turn it is given back. So it goes back also when
//! the driver is away at that moment, or the appliance is killed: it is tried again from time to
//! time, by the next appliance too, and before the driver is asked for anything else. A driver that
//! is there and does not want it is told three times. What somebody here has, because the driver
//! gave it twice, is not given back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::turn::Writes;
use super::{Control, State, durable};
use crate::cnm::{Edit, Given, Id, Returned};
use crate::plugin::RemoteIpam;

/// The most networks and endpoints that are remembered whose drivers are away.
const MAX_DEBTS: usize = 16_384;
/// How often a driver is told that does not want something back.
const MAX_REFUSALS: u32 = 3;
/// How long a driver may take to take one thing back.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long whoever removes something waits until its driver has it back.
const WAIT: Duration = Duration::from_secs(5);

/// What is due, by the id of what had it.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    all: BTreeMap<Id, Debt>,
    /// The drivers to which something is due since it was last looked.
    fresh: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Debt {
    returned: Returned,
    refusals: u32,
}

impl Debts {
    /// What a store has kept.
    pub(super) fn restored(kept: BTreeMap<Id, Returned>) -> Self {
        let debt = |(id, returned)| (id, Debt { returned, refusals: 0 });
        Self { all: kept.into_iter().map(debt).collect(), fresh: BTreeSet::new() }
    }

    /// What has to be written so that the store has these as well.
    pub(super) fn noted(&self, returns: &[(Id, Returned)]) -> Writes {
        let record = |(id, returned): &(Id, Returned)| {
            let merged = self.merged(*id, returned);
            (durable::owed_key(*id), Some(durable::json(&merged)))
        };
        returns.iter().take(self.room()).map(record).collect()
    }

    /// Notes what is due.
    pub(super) fn add(&mut self, returns: Vec<(Id, Returned)>) {
        let room = self.room();
        if returns.len() > room {
            tracing::warn!(lost = returns.len() - room, "too much is due to IPAM drivers");
        }
        for (id, returned) in returns.into_iter().take(room) {
            self.fresh.insert(returned.driver.clone());
            let returned = self.merged(id, &returned);
            self.all.insert(id, Debt { returned, refusals: 0 });
        }
    }

    /// The drivers to which something is due since the last call.
    pub(super) fn take_fresh(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.fresh)
    }

    /// The drivers to which anything is due.
    pub(super) fn drivers(&self) -> BTreeSet<String> {
        self.all.values().map(|debt| debt.returned.driver.clone()).collect()
    }

    fn room(&self) -> usize {
        MAX_DEBTS.saturating_sub(self.all.len())
    }

    /// What is due of one network or endpoint, with what was due of it before.
    fn merged(&self, id: Id, returned: &Returned) -> Returned {
        let Some(before) = self.all.get(&id) else { return returned.clone() };
        let mut merged = before.returned.clone();
        let more = returned.given.iter().filter(|given| !before.returned.given.contains(given));
        merged.given.extend(more.cloned());
        merged
    }

    /// What is due to a driver: addresses before the pools they are from.
    fn due(&self, driver: &str) -> Vec<(Id, Given)> {
        let own = self.all.iter().filter(|(_, debt)| debt.returned.driver == driver);
        let each = |(id, debt): (&Id, &Debt)| {
            let id = *id;
            debt.returned.given.clone().into_iter().map(move |given| (id, given))
        };
        let mut due: Vec<(Id, Given)> = own.flat_map(each).collect();
        due.sort_by_key(|(_, given)| matches!(given, Given::Pool { .. }));
        due
    }

    /// Takes note of what a driver has back and what it did not want; what has to be written.
    fn paid(&mut self, paid: &[(Id, Given)], refused: &BTreeSet<Id>) -> Writes {
        let mut writes = Writes::new();
        for (id, given) in paid {
            if let Some(debt) = self.all.get_mut(id) {
                debt.returned.given.retain(|own| own != given);
                writes.insert(durable::owed_key(*id), Some(durable::json(&debt.returned)));
            }
        }
        for id in refused {
            if let Some(debt) = self.all.get_mut(id) {
                debt.refusals += 1;
                if debt.refusals >= MAX_REFUSALS {
                    let Returned { driver, given } = &debt.returned;
                    tracing::warn!(driver, ?given, "not given back, as the driver refuses it");
                    debt.returned.given.clear();
                }
            }
        }
        let is_done = |debt: &Debt| debt.returned.given.is_empty();
        for (id, _) in self.all.extract_if(.., |_, debt| is_done(debt)) {
            writes.insert(durable::owed_key(id), None);
        }
        writes
    }
}

impl Control {
    /// Gives back what came of no use, and waits for a while until the driver has it.
    pub(super) async fn give_back(&self, returned: Returned) {
        if returned.given.is_empty() {
            return;
        }
        let driver = returned.driver.clone();
        match super::new_id() {
            Ok(id) => self.at_once(|state| state.owe(vec![(id, returned)])).await,
            Err(error) => tracing::warn!(%error, ?returned, "not given back"),
        }
        self.settle(&driver).await;
    }

    /// Waits for a while until a driver has everything back that is due to it.
    pub(super) async fn settle(&self, driver: &str) {
        // Longer than that it does not wait; what is under way goes on.
        let _ = timeout(WAIT, self.settle_soon(driver)).await;
    }

    /// Waits for a while until all drivers have everything back, at the appliance's end. What is
    /// not kept goes back then.
    pub(crate) async fn settle_all(&self, is_kept: bool) {
        if !is_kept {
            self.at_once(State::give_up_remote_networks).await;
        }
        let drivers = self.state().debts.drivers();
        let under_way: Vec<_> = drivers.iter().map(|driver| self.settle_soon(driver)).collect();
        let all = async {
            for settled in under_way {
                // One that panicked has said so.
                let _ = settled.await;
            }
        };
        if timeout(WAIT, all).await.is_err() {
            let drivers = self.state().debts.drivers();
            tracing::warn!(?drivers, "IPAM drivers have not taken everything back yet");
        }
    }

    /// Gives a driver everything back that is due to it, in a task of its own.
    pub(super) fn settle_soon(&self, driver: &str) -> JoinHandle<()> {
        let (control, driver) = (self.clone(), driver.to_owned());
        tokio::spawn(async move {
            let is_due = !control.state().debts.due(&driver).is_empty();
            if is_due {
                // It has been noted when to try again.
                let _ = control.remote_at_once(&driver).await;
            }
        })
    }

    /// Gives a driver that is there everything back, as far as it takes it. Only for whoever has
    /// its gate.
    pub(super) async fn pay_driver(&self, remote: &RemoteIpam, give_up: Instant) {
        let driver = remote.name();
        let due = self.state().debts.due(driver);
        if due.is_empty() {
            return;
        }
        let remote = remote.clone().at_once();
        let (mut paid, mut refused) = (Vec::new(), BTreeSet::new());
        for (id, given) in due {
            if !self.state().model.has(driver, &given) {
                let until = give_up.min(Instant::now() + PATIENCE);
                match remote.give_back(&given, until).await {
                    Ok(()) => {}
                    Err(error) if error.is_away() => {
                        let error = crate::cli::chain(&error);
                        tracing::warn!(driver, error, "to be given back later");
                        break;
                    }
                    Err(error) => {
                        let error = crate::cli::chain(&error);
                        tracing::warn!(driver, error, ?given, "the driver does not take back");
                        refused.insert(id);
                        continue;
                    }
                }
            }
            paid.push((id, given));
        }
        self.at_once(|state| {
            let writes = state.debts.paid(&paid, &refused);
            state.owed.extend(writes);
        })
        .await;
        self.flush().await;
    }
}

impl State {
    /// Owes what has changed in the model to the store, and what went with it to drivers. Only for
    /// those whose turn it is.
    pub(super) fn owe_changes(&mut self) {
        self.owed.extend(durable::writes(&self.model));
        let returns = self.model.returns();
        self.owe(returns);
        self.model.settle();
    }

    /// Notes what is due to drivers, and owes that to the store. Only for those whose turn it is.
    pub(super) fn owe(&mut self, returns: Vec<(Id, Returned)>) {
        self.owed.extend(self.debts.noted(&returns));
        self.debts.add(returns);
    }

    /// Gives up every network that has its addresses from a driver, for an appliance whose end
    /// nothing survives.
    pub(super) fn give_up_remote_networks(&mut self) {
        let networks = self.model.networks();
        let remote = networks.filter(|network| network.ipam.driver.plugin().is_some());
        let remote: Vec<Id> = remote.map(|network| network.id).collect();
        for network in remote {
            let endpoints: Vec<Id> = self.model.endpoints_of(network).map(|own| own.id).collect();
            endpoints.into_iter().for_each(|endpoint| self.forget(endpoint));
            // It is empty, and none of those that are always there.
            let _ = self.model.apply(Edit::RemoveNetwork(network.to_string()));
            self.owe_changes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id::new([number; 32])
    }

    fn address(last: u8) -> Given {
        Given::Address { pool: "p".to_owned(), address: [10, 0, 0, last].into() }
    }

    fn returned(driver: &str, given: &[Given]) -> Returned {
        Returned { driver: driver.to_owned(), given: given.to_vec() }
    }

    fn keys(writes: &Writes) -> Vec<(String, bool)> {
        writes.iter().map(|(key, value)| (key.clone(), value.is_some())).collect()
    }

    #[test]
    fn what_is_due_is_kept_until_it_is_back() {
        let pool = Given::Pool { pool: "p".to_owned() };
        let mut debts = Debts::default();
        let first = vec![
            (id(1), returned("a", std::slice::from_ref(&pool))),
            (id(2), returned("b", &[address(9)])),
        ];
        assert_eq!(debts.noted(&first).len(), 2);
        debts.add(first);
        // An endpoint with the same id comes and goes again.
        debts.add(vec![(id(3), returned("a", &[address(1), address(2)]))]);
        debts.add(vec![(id(3), returned("a", &[address(2), address(3)]))]);
        assert_eq!(debts.take_fresh(), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(debts.take_fresh(), BTreeSet::new());
        let of_three = [address(1), address(2), address(3)].map(|given| (id(3), given));
        let mut due = of_three.to_vec();
        due.push((id(1), pool.clone()));
        assert_eq!(debts.due("a"), due);

        let key = |number| durable::owed_key(id(number));
        let writes = debts.paid(&of_three[..2], &BTreeSet::new());
        assert_eq!(keys(&writes), [(key(3), true)]);
        let writes = debts.paid(&of_three[2..], &BTreeSet::from([id(1)]));
        assert_eq!(keys(&writes), [(key(3), false)]);
        // Who does not want it is told three times.
        assert_eq!(keys(&debts.paid(&[], &BTreeSet::from([id(1)]))), []);
        assert_eq!(keys(&debts.paid(&[], &BTreeSet::from([id(1)]))), [(key(1), false)]);
        assert_eq!(debts.drivers(), BTreeSet::from(["b".to_owned()]));
    }

    #[test]
    fn more_than_can_be_remembered_is_lost_with_a_warning() {
        let mut debts = Debts::default();
        let all = (0..MAX_DEBTS + 1).map(|number| {
            let mut octets = [0; 32];
            octets[..8].copy_from_slice(&number.to_be_bytes());
            (Id::new(octets), returned("a", &[address(1)]))
        });
        let all: Vec<_> = all.collect();
        assert_eq!(debts.noted(&all).len(), MAX_DEBTS);
        debts.add(all);
        assert_eq!(debts.all.len(), MAX_DEBTS);
        assert_eq!(debts.noted(&[(id(9), returned("a", &[address(1)]))]).len(), 0);
    }
}
