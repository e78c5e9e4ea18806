//! Why a frame ended: one closed list for the whole data path.
//!
//! Every frame that comes in is forwarded, answered, or counted as dropped for exactly one of
//! these reasons, and so is every copy that was meant to go out. The list lives beside the switch
//! because most reasons are its decisions; the rest are named here so that one index, one label
//! and one sentence serve the counters, the metrics and the person who asks.

use core::fmt;

/// On which side of the decision a drop is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Once per frame, at the port it came from. There is no egress yet.
    Ingress,
    /// Once per copy, at the port it was meant for.
    Egress,
}

/// The one reason for which a frame, or a copy of it, was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Shorter than an Ethernet header and the tags it announces.
    Runt,
    /// Longer than an IP packet of 65 535 octets behind two VLAN tags, which no port takes.
    Giant,
    /// The virtio-net header contradicts the frame: offsets beyond its end, an unknown kind.
    BadOffload,
    /// The port is in no network: it came too late or left too early.
    Detached,
    /// The source address is a group's or all zero. Neither is ever a station's (802.1Q §8.7).
    BadSource,
    /// The destination is 01:80:c2:00:00:0x, which a switch never forwards (802.1Q §8.6.3).
    Reserved,
    /// A guarded endpoint sent from a MAC address that is not its own.
    SpoofedMac,
    /// A guarded endpoint sent from, or claimed, an IP address that is not its own.
    SpoofedAddress,
    /// The station it is for is behind the port it came from.
    Hairpin,
    /// The station it is for is behind another tunnel, and tunnels never feed tunnels.
    SplitHorizon,
    /// The station it is for is behind an endpoint that this one is isolated from.
    Isolated,
    /// An endpoint of a network with an uplink sent it tagged, which would be in another VLAN outside.
    Tagged,
    /// It came by the uplink, and is for no station of the network, or of another VLAN.
    Stranger,
    /// It came by the uplink from one of the network's own stations: sent back, or forged.
    Reflected,
    /// It would be flooded, and its port has used up its allowance.
    Storm,
    /// It would be flooded, and there is no other port to flood it to.
    Alone,
    /// The egress port's MTU is too small, and the frame cannot be segmented.
    TooBig,
    /// The egress queue is full.
    QueueFull,
    /// The egress port exists and is down.
    PortDown,
    /// The egress port went away between the decision and the write.
    PortGone,
    /// The kernel refused the frame.
    Rejected,
}

impl DropReason {
    /// Every reason, in the order of [`index`](Self::index).
    pub const ALL: &'static [Self] = &[
        Self::Runt,
        Self::Giant,
        Self::BadOffload,
        Self::Detached,
        Self::BadSource,
        Self::Reserved,
        Self::SpoofedMac,
        Self::SpoofedAddress,
        Self::Hairpin,
        Self::SplitHorizon,
        Self::Isolated,
        Self::Tagged,
        Self::Stranger,
        Self::Reflected,
        Self::Storm,
        Self::Alone,
        Self::TooBig,
        Self::QueueFull,
        Self::PortDown,
        Self::PortGone,
        Self::Rejected,
    ];

    /// How many reasons there are: the size of an array of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Gives the reason's place in an array of counters, below [`COUNT`](Self::COUNT).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Names the reason for metrics and JSON, in kebab-case. Part of the interface: never changed.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Runt => "runt",
            Self::Giant => "giant",
            Self::BadOffload => "bad-offload",
            Self::Detached => "detached",
            Self::BadSource => "bad-source",
            Self::Reserved => "reserved",
            Self::SpoofedMac => "spoofed-mac",
            Self::SpoofedAddress => "spoofed-address",
            Self::Hairpin => "hairpin",
            Self::SplitHorizon => "split-horizon",
            Self::Isolated => "isolated",
            Self::Tagged => "tagged",
            Self::Stranger => "stranger",
            Self::Reflected => "reflected",
            Self::Storm => "storm",
            Self::Alone => "alone",
            Self::TooBig => "too-big",
            Self::QueueFull => "queue-full",
            Self::PortDown => "port-down",
            Self::PortGone => "port-gone",
            Self::Rejected => "rejected",
        }
    }

    /// Explains the reason to a person, in one plain sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Runt => "The frame is shorter than an Ethernet header.",
            Self::Giant => {
                "The frame is longer than the largest IP packet in Ethernet, which no port takes."
            }
            Self::BadOffload => "The frame's offload header does not fit the frame.",
            Self::Detached => "The port it came from is attached to no network.",
            Self::BadSource => "The source address is a group address or all zero.",
            Self::Reserved => {
                "The destination is reserved for neighbouring switches and is never forwarded."
            }
            Self::SpoofedMac => {
                "The endpoint used a MAC address that is not its own, which the source guard \
                 forbids."
            }
            Self::SpoofedAddress => {
                "The endpoint used an IP address that is not its own, which the source guard \
                 forbids."
            }
            Self::Hairpin => "The destination is behind the same port as the sender.",
            Self::SplitHorizon => {
                "The destination is behind another tunnel, and tunnels never feed each other."
            }
            Self::Isolated => "The network isolates the sender from the destination.",
            Self::Tagged => {
                "The endpoint sent a frame with a VLAN tag, and might reach another VLAN beyond the \
                 uplink."
            }
            Self::Stranger => {
                "The uplink brought a frame that is for no station of this network, or is of \
                 another VLAN."
            }
            Self::Reflected => {
                "The uplink brought back what a station of this network had sent, which its mode \
                 does not let in."
            }
            Self::Storm => "The port has flooded more than storm control allows.",
            Self::Alone => "The frame is for everyone, and there is nobody else it may go to.",
            Self::TooBig => "The frame is too big for the port it would leave by.",
            Self::QueueFull => "The queue of the port it would leave by is full.",
            Self::PortDown => "The port it would leave by is down.",
            Self::PortGone => "The port it would leave by has just gone away.",
            Self::Rejected => "The kernel refused to take the frame.",
        }
    }

    /// Says whether the drop is counted once per frame or once per copy.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::Runt
            | Self::Giant
            | Self::BadOffload
            | Self::Detached
            | Self::BadSource
            | Self::Reserved
            | Self::SpoofedMac
            | Self::SpoofedAddress
            | Self::Hairpin
            | Self::SplitHorizon
            | Self::Isolated
            | Self::Tagged
            | Self::Stranger
            | Self::Reflected
            | Self::Storm
            | Self::Alone => Stage::Ingress,
            Self::TooBig | Self::QueueFull | Self::PortDown | Self::PortGone | Self::Rejected => {
                Stage::Egress
            }
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn every_reason_has_its_place_its_own_label_and_one_sentence() {
        let mut labels = BTreeSet::new();
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason}");
            assert!(labels.insert(reason.label()), "{reason} is taken");
            assert!(reason.label().bytes().all(|b| b == b'-' || b.is_ascii_lowercase()));
            let sentence = reason.sentence();
            assert!(sentence.ends_with('.') && sentence.matches('.').count() == 1, "{sentence}");
        }
        assert_eq!(DropReason::Rejected.index() + 1, DropReason::COUNT);
    }

    #[test]
    fn what_ends_before_the_decision_is_counted_at_the_ingress() {
        let egress: BTreeSet<_> =
            DropReason::ALL.iter().filter(|r| r.stage() == Stage::Egress).copied().collect();
        let expected = [
            DropReason::TooBig,
            DropReason::QueueFull,
            DropReason::PortDown,
            DropReason::PortGone,
            DropReason::Rejected,
        ];
        assert_eq!(egress, BTreeSet::from(expected));
    }
}
