//! What should exist: networks, endpoints and their addresses, and the rules between them.
//!
//! Docker's Container Network Model, with its words. A [`Model`] holds what exists at this moment;
//! every front door (the file, the command line, Docker) turns a wish into an [`Edit`], and
//! [`Model::apply`] either carries it out whole or refuses it with a [`Refusal`] that names the
//! rule and the remedy. Two [`Declared`] pictures, read from two versions of a file, are compared
//! by [`plan`](plan::plan), whose list of [`Change`]s can be printed, carried out, and undone.
//!
//! # Promises
//! - An edit keeps every rule or changes nothing: ids are unique; names are unique among networks,
//!   and within a network among endpoints; subnets do not overlap; an address or a station address
//!   has one holder; a network with endpoints stays; `bridge`, `host` and `none` always exist.
//! - Nothing here asks for time, chance, a file or a socket: ids, creation times and the routes of
//!   the host arrive as arguments, so the same edits always give the same model.
//! - Tables are bounded by [`MAX_NETWORKS`](model::MAX_NETWORKS),
//!   [`MAX_ENDPOINTS`](model::MAX_ENDPOINTS) and [`MAX_SUBNETS`](network::MAX_SUBNETS).
//!
//! # Limits
//! One host. Networks that several hosts share need an overlay and a store, and are not here yet.
//!
//! # Sources
//! Docker's libnetwork design (sandbox, endpoint, network) and the names and rules its users know.

pub mod addresses;
pub mod declared;
pub mod driver;
pub mod endpoint;
pub mod id;
pub mod ipam;
pub mod model;
pub mod network;
pub mod options;
pub mod parent;
pub mod plan;
pub mod refusal;
mod text;

pub use declared::{Attach, Declared, DeclaredEndpoint, DeclaredNetwork};
pub use driver::{Driver, DriverError, NetworkDriver};
pub use endpoint::{Endpoint, EndpointKind, EndpointSpec};
pub use id::Id;
pub use ipam::{Given, Ipam, IpamDriver, IpamDriverError, Returned};
pub use model::{BuiltIns, Changed, Edit, Model, Outcome};
pub use network::{Network, NetworkSpec, NetworkUpdate, Origin, Subnet, SubnetSpec};
pub use options::{LiveOptions, NetworkOptions, OptionError, Spoof};
pub use parent::{Parent, UplinkOptions};
pub use plan::{Change, plan};
pub use refusal::Refusal;
