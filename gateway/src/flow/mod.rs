//! How flows leave a network and come back.
//!
//! A **flow** is one conversation between a guest **inside** and somebody **outside**. There is no
//! translation of packets here: towards the guest the gateway is the other end of the conversation,
//! and towards the outside it is an ordinary program with an ordinary socket. What the guest sends
//! ends here and goes on there. So nothing needs a privilege, a raw socket or a firewall rule.
//!
//! | part | question it answers |
//! | --- | --- |
//! | [`key`] | which conversation is this? |
//! | [`table`] | which flows are there, and whose time has come? |
//! | [`policy`] | may a guest go there at all? |
//! | [`tcp`] | what does the guest's TCP say, and what do we answer? |
//! | [`packet`] | what does a frame to the guest look like? |
//!
//! The sockets are elsewhere, in the caller's hands. A frame for the guest goes into an [`Outlet`].
//!
//! # Promises
//! - Every table has a bound, and a guest that fills its own does not fill another's.
//! - Nothing here waits, reads a clock, or panics at what a guest sends.

pub mod key;
pub mod packet;
pub mod policy;
pub mod table;
pub mod tcp;

mod device;

pub use key::Key;
pub use packet::Link;
pub use table::{Table, Token};
pub use tcp::{Connection, Stack};

/// Where frames for the guest go.
pub trait Outlet {
    /// Where to write the next one: a virtio-net header and the frame behind it. There is room for
    /// the largest superframe.
    fn buffer(&mut self) -> &mut [u8];

    /// Sends the first `len` octets of the buffer. False when they were lost.
    fn send(&mut self, len: usize) -> bool;

    /// Whether a frame would be taken now.
    fn has_room(&self) -> bool;
}
