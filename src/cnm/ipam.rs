//! Who gives a network its addresses, and what that one is told.
//!
//! A closed set, like the [drivers](super::driver): the compiler lists every place that must think
//! about a further one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text;

/// Who gives a network its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ipam {
    /// The one that does.
    #[serde(with = "text")]
    pub driver: IpamDriver,
    /// What it is told. The drivers here know no options; they are kept for whoever asks.
    pub options: BTreeMap<String, String>,
}

/// The kinds of address management.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpamDriver {
    /// Our own pools.
    #[default]
    Default,
    /// Nobody: endpoints have no addresses, and look after themselves.
    Null,
}

impl IpamDriver {
    /// Every driver, in the order in which people are told of them.
    pub const ALL: [Self; 2] = [Self::Default, Self::Null];

    /// The driver's name in commands and Docker's API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Null => "null",
        }
    }
}

impl fmt::Display for IpamDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no IPAM driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown IPAM driver {driver:?}")]
pub struct IpamDriverError {
    /// The word given.
    pub driver: String,
}

impl FromStr for IpamDriver {
    type Err = IpamDriverError;

    fn from_str(name: &str) -> Result<Self, IpamDriverError> {
        let found = Self::ALL.into_iter().find(|driver| driver.name() == name);
        found.ok_or_else(|| IpamDriverError { driver: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipam_driver_is_read_or_refused() {
        for driver in IpamDriver::ALL {
            assert_eq!(driver.to_string().parse(), Ok(driver));
        }
        let error = "dhcp".parse::<IpamDriver>().unwrap_err();
        assert_eq!(error.to_string(), "unknown IPAM driver \"dhcp\"");
    }
}
