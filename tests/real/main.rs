//! weft with real peers: the kernel's network stack, QEMU, and another TCP/IP stack.
//!
//! Each test makes a world of its own (a folder, a socket, namespaces, perhaps a user), runs the
//! built weft in it, and in the end checks that nothing of it is left. They need root and some
//! programs, which `scripts/test` installs. Without root, `cargo test` passes over them, and says
//! so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "the support modules are used by their neighbours only")]

#[macro_use]
mod support;

mod appliance;
mod attach;
mod declared;
mod docker;
mod durability;
mod engine;
mod gateway;
mod guest;
mod hostile;
mod ipam_plugin;
mod machines;
mod macvlan;
mod networks;
mod programs;
mod published;
mod refusals;
mod survival;
mod switching;
mod terminal;
