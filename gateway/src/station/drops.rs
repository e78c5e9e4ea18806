//! What became of a frame for the gateway: two closed lists, of answers and of drops.
//!
//! Every frame is answered, passed on, or dropped for exactly one reason. As in the switch, one
//! index, one label and one sentence serve the counters, the metrics and the person who asks.

use core::fmt;

/// What a frame was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Answer {
    /// An ARP reply: the gateway's MAC address.
    Arp,
    /// A neighbour advertisement: the same for IPv6.
    Neighbor,
    /// An echo reply, IPv4 or IPv6.
    Echo,
    /// A router advertisement.
    Router,
    /// A DHCPv4 offer.
    DhcpOffer,
    /// A DHCPv4 acknowledgement.
    DhcpAck,
    /// A DHCPv4 refusal: the client asked for an address that is not its own.
    DhcpNak,
    /// A DHCPv6 reply.
    Dhcp6Reply,
}

impl Answer {
    /// Every answer, in the order of [`index`](Self::index).
    pub const ALL: &'static [Self] = &[
        Self::Arp,
        Self::Neighbor,
        Self::Echo,
        Self::Router,
        Self::DhcpOffer,
        Self::DhcpAck,
        Self::DhcpNak,
        Self::Dhcp6Reply,
    ];

    /// How many answers there are: the size of an array of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Gives the answer's place in an array of counters, below [`COUNT`](Self::COUNT).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Names the answer for metrics and JSON, in kebab-case. Part of the interface: never changed.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::Neighbor => "neighbor",
            Self::Echo => "echo",
            Self::Router => "router",
            Self::DhcpOffer => "dhcp-offer",
            Self::DhcpAck => "dhcp-ack",
            Self::DhcpNak => "dhcp-nak",
            Self::Dhcp6Reply => "dhcp6-reply",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The one reason for which the gateway dropped a frame, or said nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Drop {
    /// Shorter than an Ethernet header and the tags it announces.
    Runt,
    /// In a VLAN, and the gateway is in none.
    Tagged,
    /// For another station; it was flooded.
    OtherStation,
    /// Neither ARP nor IP.
    EtherType,
    /// A header or a length that does not fit.
    Malformed,
    /// An IP, ICMP or UDP checksum is wrong.
    Checksum,
    /// The source address is one that no station may send from.
    BadSource,
    /// The destination address is one that is never routed.
    BadDestination,
    /// For a group that the gateway is not in; groups are not routed.
    Group,
    /// A packet for one address in a frame for everybody (RFC 1122 §3.3.6).
    LinkBroadcast,
    /// A fragment of something that the gateway answers only whole.
    Fragment,
    /// A source route, or IPv6 extension headers where the gateway itself would answer.
    Options,
    /// The answer would be longer than the network's MTU.
    TooBig,
    /// Asks for an address that is not the gateway's; whoever has it will answer.
    NotOurs,
    /// Claims an address of the gateway for another station.
    Claim,
    /// An answer to a question that the gateway never asked.
    Unsolicited,
    /// Another station offers itself as a router, or redirects.
    RogueRouter,
    /// Neighbour discovery that came through a router (its hop limit is not 255), or a packet that
    /// may not pass another one.
    HopLimit,
    /// An ICMP message that a gateway does not answer.
    IcmpType,
    /// A service that is off on this network: DHCP, DNS, router advertisements.
    Off,
    /// A DHCP message that breaks the protocol.
    DhcpMalformed,
    /// A DHCP client without a lease: the address it may have is not known.
    DhcpStranger,
    /// A DHCP message for another server.
    DhcpOtherServer,
    /// A DHCP message that needs no answer: the client gives its address back.
    DhcpRelease,
    /// A DHCP client says that its address is in use by somebody else.
    DhcpDecline,
    /// A DHCP message through a relay, or of a kind that this server does not serve.
    DhcpUnserved,
    /// A DNS message too short to be answered.
    DnsMalformed,
    /// A DNS response where a query was expected.
    DnsResponse,
    /// A packet that must not be answered with an error (RFC 1122 §3.2.2, RFC 4443 §2.4).
    NoErrorDue,
    /// An error that the sender would have been told of, had there not been so many.
    RateLimited,
    /// The gateway has no address of that family to answer from.
    NoAddress,
    /// A protocol that no flow carries.
    Unsupported,
    /// The network has no way there that its configuration allows.
    Prohibited,
    /// The segment belongs to no connection that the gateway knows.
    NoFlow,
    /// The guest has as many flows as it may have, or all guests together do.
    FlowsFull,
    /// The host's network did not take it.
    Outside,
}

impl Drop {
    /// Every reason, in the order of [`index`](Self::index).
    pub const ALL: &'static [Self] = &[
        Self::Runt,
        Self::Tagged,
        Self::OtherStation,
        Self::EtherType,
        Self::Malformed,
        Self::Checksum,
        Self::BadSource,
        Self::BadDestination,
        Self::Group,
        Self::LinkBroadcast,
        Self::Fragment,
        Self::Options,
        Self::TooBig,
        Self::NotOurs,
        Self::Claim,
        Self::Unsolicited,
        Self::RogueRouter,
        Self::HopLimit,
        Self::IcmpType,
        Self::Off,
        Self::DhcpMalformed,
        Self::DhcpStranger,
        Self::DhcpOtherServer,
        Self::DhcpRelease,
        Self::DhcpDecline,
        Self::DhcpUnserved,
        Self::DnsMalformed,
        Self::DnsResponse,
        Self::NoErrorDue,
        Self::RateLimited,
        Self::NoAddress,
        Self::Unsupported,
        Self::Prohibited,
        Self::NoFlow,
        Self::FlowsFull,
        Self::Outside,
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
            Self::Tagged => "tagged",
            Self::OtherStation => "other-station",
            Self::EtherType => "ether-type",
            Self::Malformed => "malformed",
            Self::Checksum => "checksum",
            Self::BadSource => "bad-source",
            Self::BadDestination => "bad-destination",
            Self::Group => "group",
            Self::LinkBroadcast => "link-broadcast",
            Self::Fragment => "fragment",
            Self::Options => "options",
            Self::TooBig => "too-big",
            Self::NotOurs => "not-ours",
            Self::Claim => "claim",
            Self::Unsolicited => "unsolicited",
            Self::RogueRouter => "rogue-router",
            Self::HopLimit => "hop-limit",
            Self::IcmpType => "icmp-type",
            Self::Off => "off",
            Self::DhcpMalformed => "dhcp-malformed",
            Self::DhcpStranger => "dhcp-stranger",
            Self::DhcpOtherServer => "dhcp-other-server",
            Self::DhcpRelease => "dhcp-release",
            Self::DhcpDecline => "dhcp-decline",
            Self::DhcpUnserved => "dhcp-unserved",
            Self::DnsMalformed => "dns-malformed",
            Self::DnsResponse => "dns-response",
            Self::NoErrorDue => "no-error-due",
            Self::RateLimited => "rate-limited",
            Self::NoAddress => "no-address",
            Self::Unsupported => "unsupported",
            Self::Prohibited => "prohibited",
            Self::NoFlow => "no-flow",
            Self::FlowsFull => "flows-full",
            Self::Outside => "outside",
        }
    }

    /// Explains the reason to a person, in one plain sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Runt => "The frame is shorter than an Ethernet header.",
            Self::Tagged => "The frame is in a VLAN, and the gateway is in none.",
            Self::OtherStation => "The frame was flooded and is for another station.",
            Self::EtherType => "The frame carries neither ARP nor IP.",
            Self::Malformed => "A header or a length in the packet does not fit.",
            Self::Checksum => "A checksum in the packet is wrong.",
            Self::BadSource => "The packet's source address is one that no station may send from.",
            Self::BadDestination => "The packet's destination address is never routed.",
            Self::Group => "The packet is for a group, and groups are not routed.",
            Self::LinkBroadcast => {
                "The packet is for one address, but its frame was sent to everybody."
            }
            Self::Fragment => "The packet is a fragment, and the gateway answers this only whole.",
            Self::Options => {
                "The packet has a source route or extension headers that the gateway does not take."
            }
            Self::TooBig => "The answer would be longer than the network's MTU.",
            Self::NotOurs => "The question is about an address that is not the gateway's.",
            Self::Claim => "Another station claims an address of the gateway.",
            Self::Unsolicited => "The packet answers a question that the gateway did not ask.",
            Self::RogueRouter => "Another station offers itself as a router.",
            Self::HopLimit => {
                "The packet may not travel on, or came from farther than a neighbour's may."
            }
            Self::IcmpType => "The gateway does not answer this kind of ICMP message.",
            Self::Off => "The service that the packet is for is off on this network.",
            Self::DhcpMalformed => "The DHCP message breaks the protocol.",
            Self::DhcpStranger => "No address is known for the client that asks for one.",
            Self::DhcpOtherServer => "The DHCP message is for another server.",
            Self::DhcpRelease => "The client gave its address back, which needs no answer.",
            Self::DhcpDecline => "The client says that somebody else uses its address.",
            Self::DhcpUnserved => {
                "The DHCP message came by a relay or asks for what is not served."
            }
            Self::DnsMalformed => "The DNS message is too short to be answered.",
            Self::DnsResponse => "The DNS message is a response, and nobody asked.",
            Self::NoErrorDue => "The packet is of a kind that is never answered with an error.",
            Self::RateLimited => "The sender has caused more errors than it is told of.",
            Self::NoAddress => "The gateway has no address to answer from.",
            Self::Unsupported => "The gateway does not carry this protocol to the outside.",
            Self::Prohibited => "The network has no way there that its configuration allows.",
            Self::NoFlow => "The segment belongs to no connection that the gateway knows.",
            Self::FlowsFull => "There are as many flows through the gateway as there may be.",
            Self::Outside => "The host's network did not take what the gateway passed on.",
        }
    }
}

impl fmt::Display for Drop {
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
        for (place, reason) in Drop::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason}");
            assert!(labels.insert(reason.label()), "{reason} is taken");
            assert!(reason.label().bytes().all(|b| b == b'-' || b.is_ascii_lowercase()));
            let sentence = reason.sentence();
            assert!(sentence.ends_with('.') && sentence.matches('.').count() == 1, "{sentence}");
        }
        assert_eq!(Drop::Outside.index() + 1, Drop::COUNT);
    }

    #[test]
    fn every_answer_has_its_place_and_its_own_label() {
        let labels: BTreeSet<_> = Answer::ALL.iter().map(|answer| answer.label()).collect();
        assert_eq!(labels.len(), Answer::COUNT);
        for (place, answer) in Answer::ALL.iter().enumerate() {
            assert_eq!(answer.index(), place, "{answer}");
        }
    }
}
