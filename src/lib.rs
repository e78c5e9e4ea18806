//! weft: networks between programs, containers and virtual machines, in one process, without root.
//!
//! Where to find what:
//!
//! - [`cli`] reads the command line; [`config`] reads `weft.toml`. Both are front doors.
//! - [`api`] is the socket between every front door and the appliance.
//! - [`cnm`] is what should exist: networks, endpoints, addresses, and the rules between them.
//! - [`control`] holds that model, the sandboxes and the runtime, and changes them together.
//! - [`plugin`] asks programs of somebody else's for addresses.
//! - [`runtime`] moves frames: workers, the picture they go by, one frame's way. [`port`] is where
//!   frames enter and leave.
//! - [`sandbox`] makes network stacks and brings their TAPs to the appliance.
//! - [`store`] is what an appliance remembers from one life to the next.
//! - [`sys`] is all of the `unsafe`.
//!
//! What should happen to a frame is decided in `weft-switch`, what a frame is in `weft-frame`, who
//! holds which address in `weft-ipam`; none of them can touch the operating system. Start reading at
//! [`runtime::worker`].

pub mod api;
pub mod appliance;
pub mod background;
pub mod cli;
pub mod cnm;
pub mod config;
pub mod control;
pub mod plugin;
pub mod port;
pub mod runtime;
pub mod sandbox;
pub mod socket_path;
pub mod state_path;
pub mod store;
pub mod sys;
