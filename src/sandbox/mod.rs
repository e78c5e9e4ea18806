//! Sandboxes: network stacks, and how their TAPs reach the appliance.
//!
//! The appliance has no rights in anybody's namespaces and needs none. Whoever owns a namespace
//! makes the TAP in it and passes the descriptor over a life line:
//!
//! ```text
//!  weft run (supervisor)                     the appliance
//!    |  Attach: name, networks  ----------->   leases addresses
//!    |  <-----------  Assigned, Hosts
//!    |
//!    +-- fork into new namespaces
//!    |     inside: map user, make TAP eth0,
//!    |     addresses, hosts, resolv.conf
//!    |  <- descriptor of eth0
//!    |  Port + descriptor  ----------------->   adds the port, reads it from now on
//!    |  <-----------  Attached
//!    |     inside: start the program
//!    |  waits: program, signals, news           connection closed: endpoint removed
//! ```
//!
//! [`run`] is that, [`attach`] the same for a stack that exists, [`exec`] one more program in a
//! sandbox. [`session`] is what they share: announcing, and coming back when the appliance was away.
//! When the appliance puts a sandbox that runs on one more network, the supervisor makes the TAP
//! from outside, as [`enter`] does for a stack that exists.

pub mod attach;
pub mod enter;
pub mod exec;
pub mod fdpass;
pub mod identity;
pub mod inside;
pub mod link;
pub mod on_demand;
pub mod remedy;
pub mod run;
pub mod session;
