//! weft-switch: where does this frame go?
//!
//! A learning switch that decides and does nothing. It is handed a port's number, a frame and the
//! time, and returns a [`Verdict`]: one port, everyone, or nobody for one named reason. It opens
//! no socket, reads no clock, allocates nothing per frame and logs nothing, so that the same
//! code runs under real workers, in a simulation, and in a test's table of cases.
//!
//! # The parts
//!
//! ```text
//!   control plane: builds, publishes            workers: share, without a lock
//!
//!   +-- Topology (a picture, immutable) --+
//!   | PortId -> PortConfig                |
//!   |             network, group          |     +-- Fdb (one per network) -------------+
//!   |             guard                   |     | station -> port: learn, look up, age |
//!   |             storm ------------------|--+  +--------------------------------------+
//!   | NetworkId -> Fdb -------------------|--|-----^
//!   |              ports to flood to      |  |  +-- StormControl (one per port) --------+
//!   +-------------------------------------+  +->| a token bucket                        |
//!                                               +---------------------------------------+
//! ```
//!
//! A frame passes [`Switch::forward`], which is short enough to be read as the specification: it
//! has a whole header, comes from an attached port, has a source a station can have, passes the
//! port's [`Guard`], and is not for neighbouring switches only. Then its source is learned and its
//! destination looked up. What is known leaves by one port, unless that is where it came from or
//! lies in the same split-horizon [`Group`]; what is unknown or for many is flooded, as far as
//! [`StormControl`] allows. A network with an [uplink] is a part of a larger one, and has rules of
//! its own from there on.
//!
//! # What holds
//!
//! - A frame never leaves its network, never returns to where it came from, and never passes
//!   between ports of one group. A full mesh of tunnels is one group and needs no other loop
//!   prevention; isolated endpoints are another.
//! - Every frame gets exactly one verdict, and a drop exactly one [`DropReason`].
//! - The FDB has a fixed size and one port can fill only its share of it. See [`fdb`].
//! - Nothing here panics on what is in a frame.
//!
//! # Where it stops
//!
//! There is no spanning tree: whoever connects two switches by two paths makes a loop. VLAN tags
//! are carried and looked through, and divide nothing. Which multicast group has listeners where
//! is not known here.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod drops;
pub mod fdb;
pub mod guard;
pub mod port;
pub mod storm;
pub mod switch;
mod table;
mod tally;
pub mod time;
pub mod topology;
pub mod uplink;

pub use drops::{DropReason, Stage};
pub use fdb::{Entry, Fdb, Learn, StaticRefused};
pub use guard::{Binding, Guard};
pub use port::{Group, NetworkId, PortConfig, PortId};
pub use storm::StormControl;
pub use switch::{Switch, Verdict};
pub use time::Instant;
pub use topology::{Topology, TopologyBuilder};
pub use uplink::{Uplink, UplinkMode};
