//! Names: what the gateway answers about its network, and what it asks others.
//!
//! [`Resolver::decide`] is handed a query and says one of three things: here is the answer, ask the
//! host's resolvers this, or say nothing. It knows the endpoints' names and aliases, their
//! addresses backwards, and the gateway itself; all else is somebody else's. What was asked
//! elsewhere is kept in a [`Pending`], which recognizes the answer and makes it the client's.
//!
//! | name | answer |
//! | --- | --- |
//! | `web`, in `weft.internal`, the search domain or neither | all its addresses, in turn |
//! | `gateway.weft.internal` | the gateway's addresses |
//! | `host.weft.internal` | those by which the host is reached |
//! | anything else in `weft.internal` | no such name |
//! | an address of the network's subnets in `in-addr.arpa` or `ip6.arpa` | its endpoint's name |
//! | `localhost` | the guest itself (RFC 6761 §6.3) |
//! | `resolver.arpa` | nothing (RFC 9462 §6.4): the host's resolvers are not the guest's business |
//! | anything else | what the host's resolvers say |
//!
//! Case does not matter, and comes back as it was asked (draft-vixie-dnsext-dns0x20).
//!
//! # Limits
//! - Queries have [`MAX_QUERY`] octets and one question; a name has at most [`MAX_ANSWERS`]
//!   addresses in one answer, and all of them in turn.
//! - Answers are not signed and not kept.
//!
//! # Sources
//! RFC 1035, RFC 2308 §2 (no such name, or nothing of that type), RFC 6891 (EDNS), RFC 7766 (TCP),
//! RFC 5452 §9 (which answers are believed), RFC 8482 (any type). The codec is the `domain` crate.

mod forward;
mod names;
mod query;
mod resolver;
mod reverse;
pub mod stream;

pub use forward::{Mismatch, Pending};
pub use names::{NameError, Names};
pub use resolver::{Asked, Decision, Resolver, Transport};

/// The longest query that is looked at: what fits one packet anywhere (RFC 9715 §3.1).
pub const MAX_QUERY: usize = 1232;

/// The most addresses in one answer.
pub const MAX_ANSWERS: usize = 32;

/// What a client without EDNS takes (RFC 1035 §4.2.1).
const PLAIN_SIZE: usize = 512;
