//! Network drivers: what kind of thing a network is.
//!
//! A closed set, so that the compiler lists every place that must think about a new one. Words
//! that the project knows but this version does not serve are refused as such, not as unknown.

use std::fmt;
use std::str::FromStr;

use super::id::{listed, nearest};

/// What kind of thing a network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Driver {
    /// A learning switch on this host, with a gateway unless the network is internal.
    #[default]
    Bridge,
    /// The sandbox shares the host's network stack; no port is made.
    Host,
    /// Loopback only; no port is made.
    None,
}

/// Drivers of the project that this version does not have.
const LATER: [&str; 2] = ["overlay", "macvlan"];

impl Driver {
    /// Every driver, in the order in which people are told of them.
    pub const ALL: [Self; 3] = [Self::Bridge, Self::Host, Self::None];

    /// The driver's name in files, commands and Docker's API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
        }
    }

    /// Whether endpoints in such a network have a port, a station address and IP addresses.
    pub const fn is_switched(self) -> bool {
        match self {
            Self::Bridge => true,
            Self::Host | Self::None => false,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Driver {
    type Err = DriverError;

    fn from_str(name: &str) -> Result<Self, DriverError> {
        if let Some(driver) = Self::ALL.into_iter().find(|driver| driver.name() == name) {
            return Ok(driver);
        }
        match LATER.into_iter().find(|later| *later == name) {
            Some(driver) => Err(DriverError::Later { driver }),
            None => Err(DriverError::Unknown { driver: name.to_owned() }),
        }
    }
}

/// Why a word is no driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The project has the driver, but not in this version.
    #[error("driver {driver} is not in this version")]
    Later {
        /// The driver asked for.
        driver: &'static str,
    },
    /// Nobody has heard of it.
    #[error("unknown driver {driver:?}")]
    Unknown {
        /// The word given.
        driver: String,
    },
}

impl DriverError {
    /// What to write instead.
    pub fn help(&self) -> String {
        let known = listed(Driver::ALL);
        match self {
            Self::Later { .. } => format!("this version has the drivers {known}"),
            Self::Unknown { driver } => match nearest(driver, Driver::ALL.map(Driver::name)) {
                Some(near) => format!("did you mean {near:?}? The drivers are {known}"),
                None => format!("the drivers are {known}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_read_or_refused_with_the_known_ones() {
        for driver in Driver::ALL {
            assert_eq!(driver.to_string().parse(), Ok(driver));
        }
        let cases = [
            (
                "brige",
                "unknown driver \"brige\"",
                "did you mean \"bridge\"? The drivers are bridge, host and none",
            ),
            ("ipvlan", "unknown driver \"ipvlan\"", "the drivers are bridge, host and none"),
            (
                "overlay",
                "driver overlay is not in this version",
                "this version has the drivers bridge, host and none",
            ),
        ];
        for (word, message, help) in cases {
            let error = word.parse::<Driver>().unwrap_err();
            assert_eq!((error.to_string().as_str(), error.help().as_str()), (message, help));
        }
    }
}
