//! A port's place for the flows of the guest behind it.
//!
//! Most guests never speak to the outside, so everything is made with the first packet that does.
//! The lock is there for the lists that the control plane asks for; frames take it while nobody
//! else does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use weft_frame::virtio::Offload;
use weft_switch::DropReason;

use super::Turn;
use super::flows::{Flows, Line};

/// The flows of one guest, once there are any.
#[derive(Debug, Default)]
pub struct Guest {
    flows: Mutex<State>,
    /// Where news of the guest's sockets shows.
    watch: OnceLock<Arc<OwnedFd>>,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing has happened yet.
    #[default]
    New,
    /// There are flows, or there have been some.
    Open(Box<Flows>),
    /// The port has gone.
    Closed,
}

impl Guest {
    /// What the worker is to watch: readable when there is something to do.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.get().map(AsFd::as_fd)
    }

    /// Takes a frame that the guest sent to the gateway.
    ///
    /// # Errors
    /// Why it ended here.
    pub fn packet(
        &self,
        frame: &[u8],
        offload: Offload,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let mut state = self.lock();
        match self.open(&mut state, turn) {
            Some(flows) => flows.packet(frame, offload, turn),
            None => Err(DropReason::Outside),
        }
    }

    /// Does what the sockets and the clock ask for; whether there is more to do at once.
    pub fn turn(&self, turn: &mut Turn<'_>) -> bool {
        match &mut *self.lock() {
            State::Open(flows) => flows.turn(turn),
            State::New | State::Closed => false,
        }
    }

    /// Ends all flows for good.
    pub fn close(&self) {
        *self.lock() = State::Closed;
    }

    /// The flows there are.
    pub fn lines(&self) -> Vec<Line> {
        match &*self.lock() {
            State::Open(flows) => flows.lines(),
            State::New | State::Closed => Vec::new(),
        }
    }

    fn open<'s>(&self, state: &'s mut State, turn: &Turn<'_>) -> Option<&'s mut Flows> {
        if matches!(state, State::New) {
            match Flows::new(turn) {
                Ok(flows) => {
                    let _ = self.watch.set(flows.epoll());
                    *state = State::Open(Box::new(flows));
                }
                Err(error) => {
                    tracing::debug!(%error, "a guest cannot have flows");
                    return None;
                }
            }
        }
        match state {
            State::Open(flows) => Some(flows),
            State::New | State::Closed => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
