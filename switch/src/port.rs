//! Ports, and what the switch has to know of each.
//!
//! Everything a frame can leave through is a port: a TAP, a remote VTEP, the gateway. The switch
//! does not know which; it knows a number, a network, and who may not talk to whom.

use alloc::sync::Arc;
use core::fmt;
use core::num::NonZeroU16;

use crate::guard::Guard;
use crate::storm::StormControl;
use crate::uplink::UplinkMode;

/// Where frames enter and leave the switch: a number from 1 to 65 535.
///
/// 0 is no port, so that an empty FDB entry is a zero word and an `Option<PortId>` two octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(NonZeroU16);

impl PortId {
    /// Makes a port's number; `None` for 0.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Gives the number, 1 to 65 535.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Gives the port's place in an array of ports, 0 to 65 534.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// One broadcast domain of this appliance. Not a VNI, which is what a tunnel calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u16);

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network {}", self.0)
    }
}

/// A split-horizon group: ports of one network that never send to each other.
///
/// The VTEPs of a mesh form one, because what came from the underlay must never go back to it; so
/// do endpoints that are to be kept apart. The number means something within its network only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u16);

/// What the switch knows of a port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// The broadcast domain it is attached to.
    pub network: NetworkId,
    /// The split-horizon group it shares with ports it must not reach, if any.
    pub group: Option<Group>,
    /// Whether `group` is there to isolate an endpoint. It names the drop's reason, nothing more.
    pub isolated: bool,
    /// Which source addresses it may send from.
    pub guard: Guard,
    /// How much it may flood; shared, because a new picture must not refill the bucket.
    pub storm: Option<Arc<StormControl>>,
    /// The longest packet it takes, in octets without the Ethernet header. For the egress side;
    /// the decision does not depend on it.
    pub mtu: u16,
    /// Whether it is the one port of its network that leads out to a larger one, and what that
    /// means for the others.
    pub uplink: Option<UplinkMode>,
}

impl PortConfig {
    /// Describes a port that may send anything to anyone of `network`, with an MTU of 1500.
    #[must_use]
    pub const fn open(network: NetworkId) -> Self {
        Self {
            network,
            group: None,
            isolated: false,
            guard: Guard::Off,
            storm: None,
            mtu: 1500,
            uplink: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_port_has_a_number_a_place_and_a_name() {
        assert_eq!(PortId::new(0), None);
        let port = PortId::new(7).unwrap();
        assert_eq!((port.get(), port.index(), port.to_string()), (7, 6, "port 7".to_string()));
        assert_eq!(PortId::new(u16::MAX).unwrap().index(), 65_534);
        assert_eq!(size_of::<Option<PortId>>(), 2);
    }
}
