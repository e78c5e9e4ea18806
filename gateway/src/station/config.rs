//! What a gateway is made of, checked once.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::str::FromStr;

use domain::base::Name;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use weft_frame::MacAddr;

/// The most addresses, and so subnets, that a gateway has.
pub const MAX_ADDRESSES: usize = 16;

/// The most routes that DHCP tells of.
pub const MAX_ROUTES: usize = 16;

/// The least that an IPv4 host must take (RFC 791), and so the least MTU.
const MIN_MTU: u16 = 576;

/// The longest packet that fits a port behind its Ethernet header.
const MAX_MTU: u16 = 65_521;

/// What a network's gateway is and does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its station address.
    pub mac: MacAddr,
    /// Its address in each subnet, with that subnet's prefix: `192.168.10.1/24`.
    pub addresses: Vec<IpNetwork>,
    /// The network's MTU.
    pub mtu: u16,
    /// The domain that short names are looked for in, such as `weft.internal`; may be empty.
    pub search: String,
    /// Whether it is a way out, so that guests are told of it as their router.
    pub leads_out: bool,
    /// Whether it answers DNS, so that guests are told of it as their resolver.
    pub dns: bool,
    /// How it serves DHCPv4, if it does.
    pub dhcp: Option<Dhcp>,
    /// How it advertises itself to IPv6 guests and serves stateless DHCPv6, if it does.
    pub router: Option<Router>,
}

/// How the gateway serves DHCPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// How long a lease lasts; it is renewed at half of that (RFC 2131 §4.4.5).
    pub lease_seconds: u32,
    /// Further routes and the routers for them (RFC 3442).
    pub routes: Vec<(Ipv4Network, Ipv4Addr)>,
}

/// How the gateway advertises itself to IPv6 guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Whether guests make addresses of their own in the network's /64s (RFC 4862).
    pub autonomous: bool,
    /// How long what is advertised holds, unless it is advertised again: 1 800 s to 9 000 s.
    pub lifetime_seconds: u16,
}

/// Why there can be no such gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The MAC address is a group's or zero.
    #[error("{0} cannot be a gateway's MAC address: it is a group's or all zero")]
    Mac(MacAddr),
    /// There are too many addresses.
    #[error("a gateway has at most {MAX_ADDRESSES} addresses, this has {0}")]
    Addresses(usize),
    /// An address is not one that a station can have.
    #[error("{0} cannot be a gateway's address: no station can have it")]
    Address(IpAddr),
    /// The MTU is out of range.
    #[error("the MTU must be {MIN_MTU} to {MAX_MTU}, not {0}")]
    Mtu(u16),
    /// The search domain is not a domain name.
    #[error("the search domain must be a domain name like weft.internal, not {0:?}")]
    Search(String),
    /// There are too many routes.
    #[error("DHCP tells of at most {MAX_ROUTES} routes, these are {0}")]
    Routes(usize),
    /// The lease is too short to be renewed in time.
    #[error("a lease must last 60 seconds at least, not {0}")]
    Lease(u32),
    /// The lifetime is out of range.
    #[error("a router's lifetime must be 1800 to 9000 seconds, not {0}")]
    Lifetime(u16),
}

impl Config {
    /// Checks every value, and returns the search domain in the form of the wire.
    pub(super) fn check(&self) -> Result<Vec<u8>, ConfigError> {
        if self.mac.is_group() || self.mac.is_zero() {
            return Err(ConfigError::Mac(self.mac));
        }
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(ConfigError::Addresses(self.addresses.len()));
        }
        if let Some(bad) = self.addresses.iter().map(IpNetwork::ip).find(|ip| !is_station(*ip)) {
            return Err(ConfigError::Address(bad));
        }
        if !(MIN_MTU..=MAX_MTU).contains(&self.mtu) {
            return Err(ConfigError::Mtu(self.mtu));
        }
        if let Some(dhcp) = &self.dhcp {
            if dhcp.routes.len() > MAX_ROUTES {
                return Err(ConfigError::Routes(dhcp.routes.len()));
            }
            if dhcp.lease_seconds < 60 {
                return Err(ConfigError::Lease(dhcp.lease_seconds));
            }
        }
        // RFC 4861 §6.2.1, and RFC 8106 §5.1: thrice the longest interval of 600 s.
        if let Some(Router { lifetime_seconds, .. }) = self.router
            && !(1800..=9000).contains(&lifetime_seconds)
        {
            return Err(ConfigError::Lifetime(lifetime_seconds));
        }
        Name::<Vec<u8>>::from_str(&self.search)
            .map(Name::into_octets)
            .or_else(|_| if self.search.is_empty() { Ok(Vec::from([0])) } else { Err(()) })
            .map_err(|()| ConfigError::Search(self.search.clone()))
    }

    pub(super) fn by_family(&self) -> (Vec<Ipv4Network>, Vec<Ipv6Network>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in &self.addresses {
            match address {
                IpNetwork::V4(address) => v4.push(*address),
                IpNetwork::V6(address) => v6.push(*address),
            }
        }
        (v4, v6)
    }
}

fn is_station(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            first != 0 && first < 224 && !address.is_loopback()
        }
        IpAddr::V6(address) => {
            !(address.is_multicast()
                || address.is_unspecified()
                || address.is_loopback()
                || address.to_ipv4_mapped().is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn config() -> Config {
        Config {
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            addresses: ["10.0.0.1/24", "fd00::1/64"].map(|text| text.parse().unwrap()).to_vec(),
            mtu: 1500,
            search: "weft.internal".to_string(),
            leads_out: true,
            dns: true,
            dhcp: Some(Dhcp { lease_seconds: 3600, routes: Vec::new() }),
            router: Some(Router { autonomous: true, lifetime_seconds: 1800 }),
        }
    }

    #[test]
    fn a_search_domain_becomes_labels() {
        assert_eq!(config().check().unwrap(), b"\x04weft\x08internal\0");
        let none = Config { search: String::new(), ..config() };
        assert_eq!(none.check().unwrap(), b"\0");
    }

    #[test]
    fn what_no_gateway_can_be_is_refused_by_name() {
        let with = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 8] = [
            (|c| c.mac = MacAddr::BROADCAST, "ff:ff:ff:ff:ff:ff cannot be a gateway's MAC address"),
            (|c| c.addresses = c.addresses.repeat(9), "at most 16 addresses, this has 18"),
            (|c| c.addresses[0] = "127.0.0.1/8".parse().unwrap(), "127.0.0.1 cannot be"),
            (|c| c.mtu = 575, "the MTU must be 576 to 65521, not 575"),
            (|c| c.search = "weft..internal".to_string(), "not \"weft..internal\""),
            (|c| c.dhcp.as_mut().unwrap().lease_seconds = 1, "60 seconds at least, not 1"),
            (|c| c.router.as_mut().unwrap().lifetime_seconds = 0, "1800 to 9000 seconds, not 0"),
            (
                |c| {
                    let route = ("10.9.0.0/16".parse().unwrap(), "10.0.0.9".parse().unwrap());
                    c.dhcp.as_mut().unwrap().routes = [route].repeat(17);
                },
                "at most 16 routes, these are 17",
            ),
        ];
        for (change, part) in cases {
            let text = with(change);
            assert!(text.contains(part), "{text}");
        }
    }
}
