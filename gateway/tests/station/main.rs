//! The station against frames of real clients, a guest of another make, and anything at all.

mod dhcp;
mod dns;
mod errors;
mod frames;
mod guest;
mod hostile;
mod reading;
mod vectors;
mod verdicts;
