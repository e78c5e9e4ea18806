//! Who gives a network its addresses, and what that one is told.
//!
//! A closed set, like the [drivers](super::driver): the compiler lists every place that must think
//! about a further one. A [remote](IpamDriver::Remote) one is somebody else's program. It chooses
//! pools and addresses; the model records what it has [given](Given), sees to it that nothing is
//! given twice, and says what [goes back](Returned) when something is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::id::is_name;
use super::text;

/// Who gives a network its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ipam {
    /// The one that does.
    #[serde(with = "text")]
    pub driver: IpamDriver,
    /// What it is told. Our own drivers know no options; they are kept for whoever asks.
    pub options: BTreeMap<String, String>,
}

/// The kinds of address management.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpamDriver {
    /// Our own pools.
    #[default]
    Default,
    /// Nobody: endpoints have no addresses, and look after themselves.
    Null,
    /// A plugin of this name.
    Remote(String),
}

impl IpamDriver {
    /// Our own drivers, in the order in which people are told of them.
    pub const OWN: [Self; 2] = [Self::Default, Self::Null];

    /// The driver's name in commands and Docker's API.
    pub fn name(&self) -> &str {
        match self {
            Self::Default => "default",
            Self::Null => "null",
            Self::Remote(plugin) => plugin,
        }
    }

    /// The plugin that it is, if it is one.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Remote(plugin) => Some(plugin),
            Self::Default | Self::Null => None,
        }
    }
}

impl fmt::Display for IpamDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a remote driver has given, and that goes back to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Given {
    /// An address of a pool.
    Address {
        /// What the driver calls the pool.
        pool: String,
        /// The address.
        address: IpAddr,
    },
    /// A pool.
    Pool {
        /// What the driver calls it.
        pool: String,
    },
}

/// What goes back to a remote driver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Returned {
    /// The driver's name.
    pub driver: String,
    /// What goes back, in this order.
    pub given: Vec<Given>,
}

/// A word that is no IPAM driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{driver:?} cannot name an IPAM driver")]
pub struct IpamDriverError {
    /// The word given.
    pub driver: String,
}

impl FromStr for IpamDriver {
    type Err = IpamDriverError;

    fn from_str(name: &str) -> Result<Self, IpamDriverError> {
        match Self::OWN.into_iter().find(|driver| driver.name() == name) {
            Some(own) => Ok(own),
            None if is_name(name) => Ok(Self::Remote(name.to_owned())),
            None => Err(IpamDriverError { driver: name.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipam_driver_is_read_or_refused() {
        let remote = IpamDriver::Remote("custom-ipam".to_owned());
        for driver in IpamDriver::OWN.into_iter().chain([remote]) {
            assert_eq!(driver.to_string().parse(), Ok(driver));
        }
        for name in ["", "../../etc/x", "a/b", ".", "..", "a b"] {
            let error = name.parse::<IpamDriver>().unwrap_err();
            assert_eq!(error.to_string(), format!("{name:?} cannot name an IPAM driver"));
        }
    }
}
