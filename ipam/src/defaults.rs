//! Default pools: where subnets come from for networks that name none.
//!
//! An entry is a base and the prefix length of the subnets it is cut into. Entries are tried in
//! the order given, and the subnets of each in the order of their addresses.
//!
//! IPv6 has no private range that everybody could share. RFC 4193 has every site draw 40 random
//! bits once, the global id; they make a /48 that is cut into 65 536 subnets of /64. The caller
//! draws the bits and keeps them.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network};

use crate::PoolError;
use crate::pool::checked_subnet;
use crate::span::{Family, Span, host_bits, subnet};

/// Docker Engine's pools for networks of one host.
const DOCKER: [(Ipv4Network, u8); 7] = [
    (v4([172, 17, 0, 0], 16), 16),
    (v4([172, 18, 0, 0], 16), 16),
    (v4([172, 19, 0, 0], 16), 16),
    (v4([172, 20, 0, 0], 14), 16),
    (v4([172, 24, 0, 0], 14), 16),
    (v4([172, 28, 0, 0], 14), 16),
    (v4([192, 168, 0, 0], 16), 20),
];

/// Docker Engine's pools for networks of a cluster.
const DOCKER_GLOBAL: [(Ipv4Network, u8); 1] = [(v4([10, 0, 0, 0], 8), 24)];

/// The prefix length of a site's unique local addresses, and of one subnet of them.
const ULA_SITE: u8 = 48;
const ULA_SUBNET: u8 = 64;

/// A subnet to cut, and how long the prefixes of the pieces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultPool {
    base: IpNetwork,
    size: u8,
}

impl DefaultPool {
    /// `size` is a prefix length: 24 cuts a /16 into 256 subnets.
    ///
    /// # Errors
    /// [`PoolError::HostBits`] for a base written as an address; [`PoolError::PrefixTooShort`] for
    /// a /0; [`PoolError::SizeTooShort`], [`PoolError::SizeTooLong`].
    pub fn new(base: IpNetwork, size: u8) -> Result<Self, PoolError> {
        checked_subnet(base)?;
        let (shortest, longest) = (base.prefix(), Family::of(base).bits());
        if size < shortest {
            return Err(PoolError::SizeTooShort { base, size, shortest });
        }
        if size > longest {
            return Err(PoolError::SizeTooLong { base, size, longest });
        }
        Ok(Self { base, size })
    }

    /// What is cut.
    pub fn base(&self) -> IpNetwork {
        self.base
    }

    /// The prefix length of the pieces.
    pub fn size(&self) -> u8 {
        self.size
    }

    /// The family of the pieces.
    pub fn family(&self) -> Family {
        Family::of(self.base)
    }

    /// How many pieces there are.
    pub fn subnets(&self) -> u128 {
        // A base is never a /0, so the difference is at most 127.
        1 << (self.size - self.base.prefix())
    }

    /// The first piece with no obstacle in it.
    ///
    /// `obstacle` returns the last address of what is in the way, which is where the search goes
    /// on: what was passed once is not looked at again, however small the pieces are.
    pub(crate) fn first_subnet_without(
        &self,
        obstacle: impl Fn(Span) -> Option<u128>,
    ) -> Option<IpNetwork> {
        let base = Span::of(self.base);
        let host = host_bits(base.family, self.size);
        let mut first = base.first;
        while base.contains(first) {
            let candidate = Span { first, last: first | host, ..base };
            match obstacle(candidate) {
                None => return Some(subnet(base.family, first, self.size)),
                // The obstacle may end in the middle of a piece: that piece is lost too.
                Some(last) => first = (last | host).checked_add(1)?,
            }
        }
        None
    }
}

/// Where subnets come from for networks that name none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPools(Vec<DefaultPool>);

impl DefaultPools {
    /// The given entries, tried in this order. They may overlap.
    pub fn new(entries: Vec<DefaultPool>) -> Self {
        Self(entries)
    }

    /// Docker Engine's for networks of one host: 172.17.0.0/16 to 172.31.0.0/16, then the /20s of
    /// 192.168.0.0/16. None for IPv6; see [`Self::with_ula`].
    pub fn docker() -> Self {
        Self::docker_table(&DOCKER)
    }

    /// Docker Engine's for networks of a cluster: the /24s of 10.0.0.0/8.
    pub fn docker_global() -> Self {
        Self::docker_table(&DOCKER_GLOBAL)
    }

    /// Adds, after what there is, the /64s of a site's unique local addresses (RFC 4193).
    #[must_use]
    pub fn with_ula(mut self, global_id: GlobalId) -> Self {
        self.0.push(DefaultPool { base: global_id.prefix(), size: ULA_SUBNET });
        self
    }

    /// The entries, in the order they are tried.
    pub fn entries(&self) -> &[DefaultPool] {
        &self.0
    }

    fn docker_table(table: &[(Ipv4Network, u8)]) -> Self {
        Self(table.iter().map(|&(base, size)| DefaultPool { base: base.into(), size }).collect())
    }
}

/// The 40 bits that make a site's unique local addresses its own; drawn at random (RFC 4193 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalId(pub [u8; 5]);

impl GlobalId {
    /// The site's prefix, a /48 of `fd00::/8`.
    pub fn prefix(self) -> IpNetwork {
        let [a, b, c, d, e] = self.0;
        let address = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        IpNetwork::new(IpAddr::V6(address), ULA_SITE).expect("48 is at most 128")
    }
}

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Network {
    let [a, b, c, d] = octets;
    Ipv4Network::new_checked(Ipv4Addr::new(a, b, c, d), prefix).expect("at most 32")
}
