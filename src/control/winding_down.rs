//! The end of an appliance: what it started ends first, in order.

use std::time::{Duration, Instant};

use super::failure::Rejected;
use super::{Control, State};
use crate::api::shapes::{Ended, FromAppliance};

/// How long sandboxes may take to end when the appliance does.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(10);

impl Control {
    /// Ends what the file declares and, unless `keep`, every other sandbox too; what still runs
    /// after a while is killed. From now on nothing new is taken in.
    ///
    /// Whoever asks again waits for the same end, and is told the same.
    pub(crate) async fn wind_down(&self, keep: bool) -> Ended {
        self.shared.wound_down.get_or_init(|| self.wind_down_once(keep)).await.clone()
    }

    async fn wind_down_once(&self, keep: bool) -> Ended {
        let (managed, ended) = {
            let state = &mut *self.state();
            state.ending = true;
            (std::mem::take(&mut state.managed), state.to_end(keep))
        };
        for process in managed.values() {
            process.stop();
        }
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            if keep || self.stop_all(signal).await {
                break;
            }
        }
        for (_, process) in managed {
            process.ended().await;
        }
        // Behind every turn that has begun.
        self.flush().await;
        ended
    }

    /// Signals every sandbox of others and waits; true when all have gone.
    async fn stop_all(&self, signal: i32) -> bool {
        for sandbox in self.state().sandboxes.values().filter(|sandbox| !sandbox.declared) {
            // One that does not listen is lost with the appliance.
            let _ = sandbox.outbox.try_send(FromAppliance::Signal(signal));
        }
        let patience = Instant::now() + GRACE;
        while Instant::now() < patience {
            if self.state().sandboxes.values().all(|sandbox| sandbox.declared) {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }
}

impl State {
    /// Refuses what would be lost at once.
    pub(crate) fn refuse_when_ending(&self) -> Result<(), Rejected> {
        if self.ending {
            return Err(Rejected::new(503, "the appliance is about to end"));
        }
        Ok(())
    }

    fn to_end(&self, keep: bool) -> Ended {
        let mut ended = Ended::default();
        for sandbox in self.sandboxes.values() {
            if keep && !sandbox.declared {
                ended.kept.push(sandbox.name.clone());
            } else {
                ended.stopped.push(sandbox.name.clone());
            }
        }
        ended.stopped.sort();
        ended.kept.sort();
        ended
    }
}
