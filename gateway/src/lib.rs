//! weft-gateway: what does a network's gateway do with this packet?
//!
//! One station per network owns the gateway's addresses. What it answers itself (who has this
//! address, are you there, what is my address, what is this name) is in [`station`]; how flows
//! leave the network and come back is in [`flow`]. Nothing here opens a socket, reads a clock or
//! logs: octets and the time go in, octets and wishes come out.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod flow;
pub mod station;

pub use smoltcp::time::{Duration, Instant};
