//! The station against frames of real clients, a guest of another make, and anything at all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod dhcp;
mod dns;
mod errors;
mod frames;
mod guest;
mod hostile;
mod reading;
mod vectors;
mod verdicts;
