//! A port's place for the flows of the guest behind it.
//!
//! Most guests never speak to the outside, so everything is made with the first packet that is for
//! the gateway. The lock is there for the lists that the control plane asks for; frames take it
//! while nobody else does.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use weft_frame::MacAddr;
use weft_frame::virtio::Offload;
use weft_gateway::Instant;
use weft_gateway::flow::Outlet;
use weft_gateway::station::dns::Names;
use weft_gateway::station::{Drop, Lease};
use weft_switch::StormControl;

use super::doors::Door;
use super::flows::{Flows, Line};
use super::{Gateway, Outside, Turn};

/// Errors that a guest is told of in a second, and at once.
const ERRORS: (u32, u32) = (100, 50);

/// The names of one network, which change while others look them up.
pub type Neighbours = Arc<ArcSwap<Names>>;

/// Who is behind a port.
#[derive(Debug)]
pub struct Who {
    /// Its station address.
    pub mac: MacAddr,
    /// Its IPv4 address with the length of its subnet's prefix, for DHCP.
    pub lease: Option<(Ipv4Addr, u8)>,
    /// Its name.
    pub name: String,
    /// The names of its networks, the nearest first.
    pub neighbours: Vec<Neighbours>,
    /// How many errors it may cause.
    pub(super) errors: StormControl,
}

/// The flows of one guest, once there are any.
#[derive(Debug, Default)]
pub struct Guest {
    who: ArcSwap<Who>,
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
    /// Says who is behind the port.
    pub fn introduce(&self, who: Who) {
        self.who.store(Arc::new(who));
    }

    /// What the worker is to watch: readable when there is something to do.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.get().map(AsFd::as_fd)
    }

    /// Takes a frame that the guest sent to the gateway, or to everybody.
    ///
    /// # Errors
    /// Why it ended here.
    pub fn packet(
        &self,
        gateway: &Gateway,
        outlet: &mut dyn Outlet,
        now: Instant,
        (frame, offload): (&[u8], Offload),
    ) -> Result<(), Drop> {
        let who = self.who.load();
        let mut turn = Turn { gateway, outlet, who: &who, now };
        let mut state = self.lock();
        match self.open(&mut state, &gateway.outside) {
            Some(flows) => flows.packet(frame, offload, &mut turn),
            None => Err(Drop::Outside),
        }
    }

    /// Does what the sockets and the clock ask for; whether there is more to do at once.
    pub fn turn(&self, gateway: &Gateway, outlet: &mut dyn Outlet, now: Instant) -> bool {
        let who = self.who.load();
        match &mut *self.lock() {
            State::Open(flows) => flows.turn(&mut Turn { gateway, outlet, who: &who, now }),
            State::New | State::Closed => false,
        }
    }

    /// Opens doors to the guest. The worker is to be woken, as there may be something to watch now.
    pub fn publish(&self, outside: &Arc<Outside>, doors: impl IntoIterator<Item = Door>) {
        let mut state = self.lock();
        if let Some(flows) = self.open(&mut state, outside) {
            doors.into_iter().for_each(|door| flows.publish(door));
        }
    }

    /// Closes doors to the guest.
    pub fn withdraw<'d>(&self, doors: impl IntoIterator<Item = &'d Door>) {
        if let State::Open(flows) = &mut *self.lock() {
            for door in doors {
                flows.withdraw(door.protocol, door.host, door.inside);
            }
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

    fn open<'s>(&self, state: &'s mut State, outside: &Arc<Outside>) -> Option<&'s mut Flows> {
        if matches!(state, State::New) {
            match Flows::new(outside) {
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

impl Who {
    /// A guest that is known by its station address.
    pub fn new(mac: MacAddr, lease: Option<(Ipv4Addr, u8)>, name: &str) -> Self {
        let errors = StormControl::new(ERRORS.0, ERRORS.1);
        Self { mac, lease, name: name.to_owned(), neighbours: Vec::new(), errors }
    }

    /// What DHCP has for a station: the guest's own, or nothing.
    pub(super) fn lease_of(&self, mac: MacAddr) -> Option<Lease<'_>> {
        let (address, prefix_len) = self.lease.filter(|_| mac == self.mac)?;
        Some(Lease { address, prefix_len, host_name: &self.name })
    }
}

impl Default for Who {
    fn default() -> Self {
        Self::new(MacAddr::ZERO, None, "")
    }
}
