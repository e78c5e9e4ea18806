//! The API: HTTP over a unix socket, and both of its ends.
//!
//! [`server`] answers for the appliance; [`client`] asks for the CLI, which has no other way in.
//! [`docker`] is the part of Docker's API that it speaks.
//! [`shapes`] are the requests and answers, [`lifeline`] the connection that a sandbox holds for as
//! long as it lives.

pub mod client;
pub mod docker;
pub mod lifeline;
pub mod server;
pub mod shapes;
