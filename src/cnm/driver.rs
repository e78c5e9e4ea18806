//! Network drivers: what kind of thing a network is.
//!
//! A driver answers a handful of questions, by the trait [`NetworkDriver`]: what it is called,
//! whether its endpoints have ports, which wishes it takes, who may come in, and what its switch
//! does differently. It decides, and does nothing; the data path is the same for all.
//!
//! [`Driver`] names the ones there are: those of the project, so that the compiler lists every
//! place that must think about a further one, and those that a program around this library has
//! [added](add). Words that the project knows but this version does not serve are refused as such,
//! not as unknown. How to write one is in `docs/drivers.md`.

mod bridge;
mod macvlan;
mod portless;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use super::endpoint::Endpoint;
use super::id::{is_name, listed, nearest};
use super::network::{Network, NetworkSpec};
use super::options::NetworkOptions;
use super::refusal::Refusal;

/// How many drivers a program may add.
pub const MAX_ADDED: usize = 16;

/// What a network driver has to answer. It is asked under a lock: no answer may wait for anything.
pub trait NetworkDriver: fmt::Debug + Sync {
    /// Its name in files, commands and Docker's API.
    fn name(&self) -> &'static str;

    /// Whether endpoints in such a network have a port, a station address and IP addresses.
    fn is_switched(&self) -> bool {
        true
    }

    /// Whether such a network can exist, other networks aside.
    ///
    /// # Errors
    /// The rule that it would break; [`Refusal::ByDriver`] for a rule of the driver's own.
    fn check(&self, wish: &NetworkSpec) -> Result<(), Refusal> {
        no_uplink(wish)
    }

    /// Whether one more endpoint can be in `network`, beside those that are.
    ///
    /// # Errors
    /// The rule that it would break.
    fn admit(&self, network: &Network, present: Present<'_, '_>) -> Result<(), Refusal> {
        let _ = (network, present);
        Ok(())
    }

    /// Changes the options that were asked for to those that such a network has.
    fn arrange(&self, options: &mut NetworkOptions) {
        let _ = options;
    }
}

/// The endpoints that a network has, as far as anybody looks.
pub type Present<'a, 'e> = &'a mut dyn Iterator<Item = &'e Endpoint>;

/// What kind of thing a network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Driver {
    /// A learning switch on this host, with a gateway unless the network is internal.
    #[default]
    Bridge,
    /// A switch with an uplink: every endpoint is a station of the network that the parent is on.
    Macvlan,
    /// The sandbox shares the host's network stack; no port is made.
    Host,
    /// Loopback only; no port is made.
    None,
    /// One that the program around this library brought along.
    Added(Added),
}

/// A driver that was [added](add).
#[derive(Clone, Copy)]
pub struct Added(&'static dyn NetworkDriver);

/// Drivers of the project that this version does not have.
const LATER: [&str; 1] = ["overlay"];

/// The drivers that the program around this library brought along.
static ADDED: RwLock<Vec<Added>> = RwLock::new(Vec::new());

/// Adds a driver, for as long as the program runs. To be called before anything is read or made.
///
/// # Errors
/// When its name is taken or cannot name anything, or there are [`MAX_ADDED`] already.
pub fn add(driver: &'static dyn NetworkDriver) -> Result<Driver, AddError> {
    let name = driver.name();
    if !is_name(name) {
        return Err(AddError::BadName { name });
    }
    let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    let is_taken = Driver::ALL.iter().any(|own| own.name() == name)
        || LATER.contains(&name)
        || added.iter().any(|own| own.0.name() == name);
    if is_taken {
        return Err(AddError::Taken { name });
    }
    if added.len() >= MAX_ADDED {
        return Err(AddError::TooMany);
    }
    added.push(Added(driver));
    Ok(Driver::Added(Added(driver)))
}

impl Driver {
    /// Every driver of the project, in the order in which people are told of them.
    pub const ALL: [Self; 4] = [Self::Bridge, Self::Macvlan, Self::Host, Self::None];

    /// Every driver, those that were added last.
    pub fn known() -> Vec<Self> {
        let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
        Self::ALL.into_iter().chain(added.iter().copied().map(Self::Added)).collect()
    }

    /// What answers for it.
    pub fn behaviour(self) -> &'static dyn NetworkDriver {
        match self {
            Self::Bridge => &bridge::Bridge,
            Self::Macvlan => &macvlan::Macvlan,
            Self::Host => &portless::Host,
            Self::None => &portless::None,
            Self::Added(Added(driver)) => driver,
        }
    }

    /// The driver's name in files, commands and Docker's API.
    pub fn name(self) -> &'static str {
        self.behaviour().name()
    }

    /// Whether endpoints in such a network have a port, a station address and IP addresses.
    pub fn is_switched(self) -> bool {
        self.behaviour().is_switched()
    }
}

/// Refuses a wish for a parent: this driver has no use for one.
fn no_uplink(wish: &NetworkSpec) -> Result<(), Refusal> {
    let uplink = &wish.options.uplink;
    let option = match (uplink.parent, uplink.mode) {
        (Some(_), _) => "parent",
        (None, Some(_)) => "macvlan_mode",
        (None, None) => return Ok(()),
    };
    Err(Refusal::NotTaken { network: wish.name.clone(), driver: wish.driver, option })
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// One driver has one name, and one name one driver.
impl PartialEq for Added {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for Added {}

impl PartialOrd for Added {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Added {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl Hash for Added {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}

impl FromStr for Driver {
    type Err = DriverError;

    fn from_str(name: &str) -> Result<Self, DriverError> {
        if let Some(driver) = Self::known().into_iter().find(|driver| driver.name() == name) {
            return Ok(driver);
        }
        match LATER.into_iter().find(|later| *later == name) {
            Some(driver) => Err(DriverError::Later { driver }),
            None => Err(DriverError::Unknown { driver: name.to_owned() }),
        }
    }
}

/// Why a driver was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The name is no name.
    #[error("{name:?} cannot name a driver")]
    BadName {
        /// The name.
        name: &'static str,
    },
    /// Another driver has the name.
    #[error("there is a driver {name} already")]
    Taken {
        /// The name.
        name: &'static str,
    },
    /// There are as many as there may be.
    #[error("{MAX_ADDED} drivers have been added already, which is the limit")]
    TooMany,
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
        let known = Driver::known();
        let names = known.iter().map(|driver| driver.name());
        let known = listed(&known);
        match self {
            Self::Later { .. } => format!("this version has the drivers {known}"),
            Self::Unknown { driver } => match nearest(driver, names) {
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
                "did you mean \"bridge\"? The drivers are bridge, macvlan, host and none",
            ),
            ("dhcp", "unknown driver \"dhcp\"", "the drivers are bridge, macvlan, host and none"),
            (
                "overlay",
                "driver overlay is not in this version",
                "this version has the drivers bridge, macvlan, host and none",
            ),
        ];
        for (word, message, help) in cases {
            let error = word.parse::<Driver>().unwrap_err();
            assert_eq!((error.to_string().as_str(), error.help().as_str()), (message, help));
        }
    }

    #[derive(Debug)]
    struct Named(&'static str);

    impl NetworkDriver for Named {
        fn name(&self) -> &'static str {
            self.0
        }
    }

    #[test]
    fn a_driver_whose_name_is_taken_or_none_is_not_added() {
        for (driver, error) in [
            (&Named("bridge"), AddError::Taken { name: "bridge" }),
            (&Named("overlay"), AddError::Taken { name: "overlay" }),
            (&Named("a b"), AddError::BadName { name: "a b" }),
            (&Named(""), AddError::BadName { name: "" }),
        ] {
            assert_eq!(add(driver), Err(error));
        }
        assert_eq!(Driver::known(), Driver::ALL);
    }
}
