//! Edits take turns.
//!
//! Whoever wants something changed waits for its turn at the turnstile. In a turn the model is
//! edited under its rules, what changed is written to the store, and only then is it brought about
//! and answered for. The lock on the state is not held while the store writes, so that a slow disk
//! holds up further edits and nothing else; until then readers may see what is not safe yet, but
//! nothing acts on it. When the edit breaks a rule or the store fails, the model is rolled back, and
//! it is as if nobody had asked.
//!
//! What has happened already, such as the end of a sandbox, cannot be refused. It changes the model
//! [at once](Control::at_once) and is owed to the store: written with the next turn, or by the next
//! [`Control::flush`].

use std::collections::BTreeMap;

use super::failure::Rejected;
use super::{Control, State, durable};
use crate::cnm::{Edit, Id, Returned};
use crate::store::{StoreError, Transaction, Write};

/// Changes of the store: what a key shall have, or that it shall go.
pub(crate) type Writes = BTreeMap<String, Option<Vec<u8>>>;

/// What goes back to IPAM drivers, by the id of what had it.
type Returns = Vec<(Id, Returned)>;

impl Control {
    /// Takes a turn: `edit` changes the model, the store writes what changed, `then` brings it
    /// about.
    ///
    /// It is carried to its end even if whoever waits for it does not wait any more.
    ///
    /// # Errors
    /// What `edit` returns, or that it could not be written; then nothing has changed.
    pub(crate) async fn turn<T, U>(
        &self,
        edit: impl FnOnce(&mut State) -> Result<T, Rejected> + Send + 'static,
        then: impl FnOnce(&mut State, T) -> U + Send + 'static,
    ) -> Result<U, Rejected>
    where
        T: Send + 'static,
        U: Send + 'static,
    {
        let control = self.clone();
        let turn = tokio::spawn(async move {
            let _turn = control.shared.turnstile.lock().await;
            let (value, returns, writes) = control.begin(edit)?;
            // An edit that changes nothing, such as the return of a sandbox, needs no room on a
            // disk; what is owed is not its concern.
            let is_changed = !writes.is_empty();
            let written = control.write(&writes).await;
            let state = &mut *control.state();
            match written {
                Ok(()) if is_changed => state.written(),
                Ok(()) => {}
                Err(error) => {
                    state.model.roll_back();
                    return Err(unwritten(&error));
                }
            }
            state.debts.add(returns);
            let value = then(state, value);
            control.settle_fresh(state);
            Ok(value)
        });
        turn.await.map_err(|error| Rejected::new(500, error.to_string()))?
    }

    /// Changes what has changed already, whatever the store says to it.
    pub(crate) async fn at_once<U>(&self, change: impl FnOnce(&mut State) -> U) -> U {
        let _turn = self.shared.turnstile.lock().await;
        let state = &mut *self.state();
        let changed = change(state);
        self.settle_fresh(state);
        changed
    }

    /// Begins to give back what a turn has made due.
    fn settle_fresh(&self, state: &mut State) {
        for driver in state.debts.take_fresh() {
            // It goes on by itself.
            drop(self.settle_soon(&driver));
        }
    }

    /// Writes what is owed to the store. When that fails it stays owed.
    pub(crate) async fn flush(&self) {
        if let Err(error) = self.pay().await
            && !std::mem::replace(&mut self.state().is_behind, true)
        {
            let reason = crate::cli::chain(&error);
            tracing::error!(reason, "the store does not take what has changed");
        }
    }

    /// Writes what is owed to the store.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn pay(&self) -> Result<(), StoreError> {
        let _turn = self.shared.turnstile.lock().await;
        let owed = self.state().owed.clone();
        self.write(&owed).await?;
        self.state().written();
        Ok(())
    }

    /// Whether something is owed to the store.
    pub(crate) fn is_owing(&self) -> bool {
        !self.state().owed.is_empty()
    }

    /// Edits the model; what is to be written with it, and what is owed besides.
    fn begin<T>(
        &self,
        edit: impl FnOnce(&mut State) -> Result<T, Rejected>,
    ) -> Result<(T, Returns, Writes), Rejected> {
        let state = &mut *self.state();
        let edited = state.refuse_when_ending().and_then(|()| edit(state));
        let declarations = std::mem::take(&mut state.declarations);
        match edited {
            Ok(value) => {
                let mut writes = durable::writes(&state.model);
                writes.extend(declarations);
                let returns = state.model.returns();
                writes.extend(state.debts.noted(&returns));
                if !writes.is_empty() {
                    let changed = std::mem::replace(&mut writes, state.owed.clone());
                    writes.extend(changed);
                }
                Ok((value, returns, writes))
            }
            Err(rejected) => {
                state.model.roll_back();
                Err(rejected)
            }
        }
    }

    async fn write(&self, writes: &Writes) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let writes = writes.iter().map(|(key, value)| match value {
            Some(value) => Write::Put { key: key.clone(), value: value.clone() },
            None => Write::Delete { key: key.clone() },
        });
        let transaction = Transaction { conditions: Vec::new(), writes: writes.collect() };
        self.shared.store.commit(transaction).await.map(|_| ())
    }
}

impl State {
    /// Notes that the store has everything.
    fn written(&mut self) {
        self.owed.clear();
        self.model.settle();
        if std::mem::take(&mut self.is_behind) {
            tracing::info!("the store takes changes again");
        }
    }

    /// Takes an endpoint out of the model and owes that to the store. Only for those whose turn it
    /// is.
    pub(super) fn forget(&mut self, endpoint: Id) {
        if let Some(network) = self.model.endpoint(endpoint).map(|endpoint| endpoint.network) {
            self.hosts.changed(network);
        }
        // A reload may have removed it before.
        let _ = self.model.apply(Edit::RemoveEndpoint(endpoint));
        self.owe_changes();
    }
}

fn unwritten(error: &StoreError) -> Rejected {
    let message =
        format!("nothing was changed, as it could not be kept: {}", crate::cli::chain(error));
    let rejected = Rejected::new(500, message);
    error.help().into_iter().fold(rejected, Rejected::help)
}
