//! Which frame is answered, passed on, or dropped for which reason.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_frame::{EtherType, MacAddr, Offload, Packet};
use weft_gateway::station::{Answer, Config, Drop, Life, Station, Tally, Verdict};

use crate::frames::*;
use crate::reading::assert_well_formed;

const ECHO: [u8; 12] = [8, 0, 0, 0, 0, 1, 0, 2, 1, 2, 3, 4];
const ECHO_V6: [u8; 12] = [128, 0, 0, 0, 0, 1, 0, 2, 1, 2, 3, 4];
const SOURCE_LINK_ADDRESS: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 7];

fn verdict(frame: &[u8]) -> Verdict {
    handle(&station(), frame).0
}

fn assert_drops(cases: &[(&str, Vec<u8>, Drop)]) {
    for (what, frame, reason) in cases {
        assert_eq!(verdict(frame), Verdict::Drop(*reason), "{what}");
    }
}

fn link_local() -> Ipv6Addr {
    GUEST.link_local()
}

#[test]
fn frames_that_are_not_for_a_gateway_are_dropped() {
    let echo = v4(GATEWAY, (GUEST_V4, GATEWAY_V4), 1, &icmp(&ECHO));
    let with = |at: usize, octets: &[u8]| {
        let mut frame = echo.clone();
        frame[at..at + octets.len()].copy_from_slice(octets);
        frame
    };
    let tagged = [&echo[..12], &[0x81, 0, 0, 5], &echo[12..]].concat();
    assert_drops(&[
        ("nothing", Vec::new(), Drop::Runt),
        ("13 octets", echo[..13].to_vec(), Drop::Runt),
        ("a VLAN", tagged, Drop::Tagged),
        ("for another station", with(0, &GUEST.0), Drop::OtherStation),
        ("from a group", with(6, &EVERYBODY.0), Drop::BadSource),
        ("from the gateway itself", with(6, &GATEWAY.0), Drop::BadSource),
        ("from nobody", with(6, &[0; 6]), Drop::BadSource),
        ("LLDP", with(12, &[0x88, 0xcc]), Drop::EtherType),
        ("IPv6 in IPv4's clothes", with(14, &[0x65]), Drop::Malformed),
        ("cut off", echo[..30].to_vec(), Drop::Malformed),
        ("a bad header checksum", with(22, &[63]), Drop::Checksum),
        ("a bad ICMP checksum", with(45, &[9]), Drop::Checksum),
    ]);
}

#[test]
fn arp_is_answered_for_the_gateway_only_and_nobody_may_claim_its_address() {
    let probe = arp(1, (GUEST, Ipv4Addr::UNSPECIFIED), GATEWAY_V4);
    for frame in [arp(1, (GUEST, GUEST_V4), GATEWAY_V4), probe] {
        let (verdict, answer) = handle(&station(), &frame);
        assert_eq!(verdict, Verdict::Answered(Answer::Arp));
        assert_eq!(answer[20..22], [0, 2]);
        assert_eq!((&answer[22..28], &answer[28..32]), (&GATEWAY.0[..], &GATEWAY_V4.octets()[..]));
        assert_eq!(answer[32..42], frame[22..32], "the asker's addresses");
    }
    let mut no_ethernet = arp(1, (GUEST, GUEST_V4), GATEWAY_V4);
    no_ethernet[15] = 6;
    assert_drops(&[
        ("for a neighbour", arp(1, (GUEST, GUEST_V4), OUTSIDE_V4), Drop::NotOurs),
        ("an announcement", arp(1, (GUEST, GUEST_V4), GUEST_V4), Drop::NotOurs),
        ("an answer", arp(2, (GUEST, GUEST_V4), GATEWAY_V4), Drop::Unsolicited),
        ("a claim", arp(1, (GUEST, GATEWAY_V4), GATEWAY_V4), Drop::Claim),
        ("a claim as an answer", arp(2, (GUEST, GATEWAY_V4), GUEST_V4), Drop::Claim),
        ("for another sender", arp(1, (STRANGER, GUEST_V4), GATEWAY_V4), Drop::Malformed),
        ("another operation", arp(3, (GUEST, GUEST_V4), GATEWAY_V4), Drop::Malformed),
        ("another hardware", no_ethernet, Drop::Malformed),
    ]);
}

#[test]
fn neighbours_are_answered_for_the_gateway_only_under_the_rules_of_rfc_4861() {
    let own = [GATEWAY_V6, GATEWAY.link_local()];
    for target in own {
        let frame = solicitation(GUEST_V6, target, &SOURCE_LINK_ADDRESS);
        let (verdict, answer) = handle(&station(), &frame);
        assert_eq!(verdict, Verdict::Answered(Answer::Neighbor));
        let message = &answer[54..];
        assert_eq!((message[0], message[4], answer[21]), (136, 0xe0, 255));
        assert_eq!(message[8..24], target.octets());
        assert_eq!(message[24..], [2, 1, 2, 0x77, 0, 0, 0, 1]);
        assert_eq!(answer[38..54], GUEST_V6.octets());
    }
    // Somebody wants to take the gateway's address.
    let (verdict, answer) =
        handle(&station(), &solicitation(Ipv6Addr::UNSPECIFIED, GATEWAY_V6, &[]));
    assert_eq!(verdict, Verdict::Answered(Answer::Neighbor));
    assert_eq!((answer[58], &answer[38..40]), (0xa0, &[0xff, 2][..]), "not solicited, to all");

    let nowhere = Ipv6Addr::UNSPECIFIED;
    let ours = |source, options: &[u8]| solicitation(source, GATEWAY_V6, options);
    let with = |at: usize, octet: u8| {
        // The checksum is put right again, the hop limit is not part of it.
        let mut frame = ours(GUEST_V6, &SOURCE_LINK_ADDRESS);
        frame[at] = octet;
        let source = GUEST_V6;
        let message = icmp_v6(source, solicited_node(GATEWAY_V6), &{
            let mut message = frame[54..].to_vec();
            message[2..4].fill(0);
            message
        });
        frame[54..].copy_from_slice(&message);
        frame
    };
    let advertisement = |target: Ipv6Addr| {
        let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets()].concat();
        let message = icmp_v6(GUEST_V6, GATEWAY_V6, &message);
        v6(GATEWAY, (GUEST_V6, GATEWAY_V6), (58, 255), &message)
    };
    assert_drops(&[
        ("through a router", with(21, 254), Drop::HopLimit),
        ("code 1", with(55, 1), Drop::Malformed),
        ("an option of no octets", with(79, 0), Drop::Malformed),
        ("an option that is cut off", with(79, 2), Drop::Malformed),
        ("for a group", with(62, 0xff), Drop::Malformed),
        ("a probe that says who it is", ours(nowhere, &SOURCE_LINK_ADDRESS), Drop::Malformed),
        ("half an option", ours(GUEST_V6, &[1]), Drop::Malformed),
        ("a claim", advertisement(GATEWAY_V6), Drop::Claim),
        ("from the gateway's address", ours(GATEWAY_V6, &[]), Drop::Claim),
        ("an advertisement", advertisement(GUEST_V6), Drop::Unsolicited),
        ("for a neighbour", solicitation(GUEST_V6, OUTSIDE_V6, &[]), Drop::Group),
        // The last three octets are the gateway's, so it listens to that group.
        (
            "for a namesake",
            { solicitation(GUEST_V6, "fd0a::1".parse().unwrap(), &[]) },
            Drop::NotOurs,
        ),
    ]);
}

#[test]
fn echo_is_answered_up_to_the_mtu_and_whole() {
    for len in [0, 1, 56, 1372] {
        let message = icmp(&[&ECHO[..8], &vec![7; len][..]].concat());
        let (verdict, answer) =
            handle(&station(), &v4(GATEWAY, (GUEST_V4, GATEWAY_V4), 1, &message));
        assert_eq!(verdict, Verdict::Answered(Answer::Echo), "{len}");
        assert_eq!((answer[34], &answer[38..]), (0, &message[4..]), "{len}");
    }
    let big = icmp(&[&ECHO[..8], &[7; 1373][..]].concat());
    let addresses = (GUEST_V4, GATEWAY_V4);
    let fragment = |offset| v4_with((GATEWAY, &[]), addresses, 1, offset, &icmp(&ECHO));
    assert_drops(&[
        ("one more", v4(GATEWAY, addresses, 1, &big), Drop::TooBig),
        ("a first fragment", fragment(0x2000), Drop::Fragment),
        ("a last fragment", fragment(9), Drop::Fragment),
        ("a reply", v4(GATEWAY, addresses, 1, &icmp(&[0; 8])), Drop::IcmpType),
        ("a time stamp", v4(GATEWAY, addresses, 1, &icmp(&[13, 0, 0, 0, 0])), Drop::IcmpType),
        ("half an echo", v4(GATEWAY, addresses, 1, &icmp(&ECHO[..6])), Drop::Malformed),
        ("three octets", v4(GATEWAY, addresses, 1, &icmp(&ECHO)[..3]), Drop::Checksum),
    ]);
}

#[test]
fn echo_of_ipv6_is_answered_from_the_address_that_was_asked() {
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    let cases = [
        (GUEST_V6, GATEWAY_V6, GATEWAY_V6),
        (link_local(), GATEWAY.link_local(), GATEWAY.link_local()),
        (link_local(), all, GATEWAY.link_local()),
        (GUEST_V6, all, GATEWAY_V6),
    ];
    for (source, destination, from) in cases {
        let to = if destination == all { group_mac(all) } else { GATEWAY };
        let message = icmp_v6(source, destination, &ECHO_V6);
        let (verdict, answer) =
            handle(&station(), &v6(to, (source, destination), (58, 64), &message));
        assert_eq!(verdict, Verdict::Answered(Answer::Echo), "{destination}");
        assert_eq!(answer[22..38], from.octets(), "{destination}");
        assert_eq!((answer[54], &answer[58..]), (129, &ECHO_V6[4..]));
    }
    // A destination option of padding before it: honest, and more than a gateway need take.
    let message = icmp_v6(GUEST_V6, GATEWAY_V6, &ECHO_V6);
    let options = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &message].concat();
    let frame = v6(GATEWAY, (GUEST_V6, GATEWAY_V6), (60, 64), &options);
    assert_eq!(verdict(&frame), Verdict::Drop(Drop::Options));
}

#[test]
#[rustfmt::skip]
fn addresses_decide_what_is_routed() {
    use Drop as D;
    let udp_v4 = |to: MacAddr, source: [u8; 4], destination: [u8; 4]| {
        udp(to, Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into(), (9, 9), b"x")
    };
    let guest = GUEST_V4.octets();
    let outside = OUTSIDE_V4.octets();
    let routed = |frame: &[u8]| Verdict::Routed(Packet::parse(frame).unwrap());
    let local = |frame: &[u8]| Verdict::Local(Packet::parse(frame).unwrap());
    let good = udp_v4(GATEWAY, guest, outside);
    assert_eq!(verdict(&good), routed(&good));
    let own = udp_v4(GATEWAY, guest, GATEWAY_V4.octets());
    assert_eq!(verdict(&own), local(&own));
    let with_options = |options: &[u8]| {
        v4_with((GATEWAY, options), (GUEST_V4, OUTSIDE_V4), 99, 0, b"x")
    };
    let record_route = with_options(&[7, 7, 4, 0, 0, 0, 0, 0]);
    assert_eq!(verdict(&record_route), routed(&record_route));
    let loose = with_options(&[1, 131, 7, 4, 9, 9, 9, 9]);
    assert_drops(&[
        ("from nowhere",         udp_v4(GATEWAY, [0; 4], outside),          D::BadSource),
        ("from loopback",        udp_v4(GATEWAY, [127, 0, 0, 1], outside),  D::BadSource),
        ("from a group",         udp_v4(GATEWAY, [224, 0, 0, 1], outside),  D::BadSource),
        ("from everybody",       udp_v4(GATEWAY, [10, 9, 0, 255], outside), D::BadSource),
        ("from the gateway",     udp_v4(GATEWAY, [10, 9, 0, 1], outside),   D::BadSource),
        ("to loopback",          udp_v4(GATEWAY, guest, [127, 0, 0, 1]),    D::BadDestination),
        ("to nowhere",           udp_v4(GATEWAY, guest, [0; 4]),            D::BadDestination),
        ("to the future",        udp_v4(GATEWAY, guest, [240, 0, 0, 1]),    D::BadDestination),
        ("to a group",           udp_v4(EVERYBODY, guest, [239, 1, 1, 1]),  D::Group),
        ("to the subnet",        udp_v4(EVERYBODY, guest, [10, 9, 0, 255]), D::Group),
        ("to all",               udp_v4(EVERYBODY, guest, [255; 4]),        D::Group),
        ("one, shouted",         udp_v4(EVERYBODY, guest, outside),         D::LinkBroadcast),
        ("the gateway, shouted", udp_v4(EVERYBODY, guest, [10, 9, 0, 1]),   D::LinkBroadcast),
        ("with a source route",  loose,                                     D::Options),
    ]);
    let udp_v6 = |to, source: &str, destination: &str| {
        let (source, destination): (Ipv6Addr, Ipv6Addr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        udp(to, source.into(), destination.into(), (9, 9), b"x")
    };
    let good = udp_v6(GATEWAY, "fd09::7", "2001:db8::9");
    assert_eq!(verdict(&good), routed(&good));
    let own = udp_v6(GATEWAY, "fe80::7", "fd09::1");
    assert_eq!(verdict(&own), local(&own));
    let group = MacAddr([0x33, 0x33, 0, 0, 0, 0xfb]);
    assert_drops(&[
        ("from nowhere",     udp_v6(GATEWAY, "::", "2001:db8::9"),             D::BadSource),
        ("from loopback",    udp_v6(GATEWAY, "::1", "2001:db8::9"),            D::BadSource),
        ("from a group",     udp_v6(GATEWAY, "ff02::1", "2001:db8::9"),        D::BadSource),
        ("from IPv4",        udp_v6(GATEWAY, "::ffff:1.2.3.4", "2001:db8::9"), D::BadSource),
        ("from the link",    udp_v6(GATEWAY, "fe80::7", "2001:db8::9"),        D::BadSource),
        ("from the gateway", udp_v6(GATEWAY, "fd09::1", "2001:db8::9"),        D::Claim),
        ("to the link",      udp_v6(GATEWAY, "fd09::7", "fe80::9"),            D::BadDestination),
        ("to loopback",      udp_v6(GATEWAY, "fd09::7", "::1"),                D::BadDestination),
        ("to nowhere",       udp_v6(GATEWAY, "fd09::7", "::"),                 D::BadDestination),
        ("to IPv4",          udp_v6(GATEWAY, "fd09::7", "::ffff:1.2.3.4"),     D::BadDestination),
        ("to a group",       udp_v6(group, "fe80::7", "ff02::fb"),             D::Group),
        ("one, shouted",     udp_v6(group, "fd09::7", "2001:db8::9"),          D::LinkBroadcast),
    ]);
}

#[test]
fn a_query_of_names_must_be_whole_and_an_unfinished_checksum_is_trusted() {
    let query = udp(GATEWAY, GUEST_V4.into(), GATEWAY_V4.into(), (4000, 53), b"0123456789ab");
    let packet = Packet::parse(&query).unwrap();
    assert_eq!(verdict(&query), Verdict::Resolve(packet));

    let mut unfinished = query.clone();
    unfinished[40] ^= 1;
    assert_eq!(verdict(&unfinished), Verdict::Drop(Drop::Checksum));
    let offload = Offload::Checksum { start: 34, offset: 6 };
    let trusted = station().handle(&unfinished, &offload, &lease_of, &mut Vec::new());
    assert_eq!(trusted, Verdict::Resolve(packet));

    let mut none = query.clone();
    none[40..42].fill(0);
    assert_eq!(verdict(&none), Verdict::Resolve(packet), "RFC 768: zero is no checksum");

    let mut short = query.clone();
    short[38..40].copy_from_slice(&[0, 7]);
    let mut long = query.clone();
    long[38..40].copy_from_slice(&[0, 99]);
    let addresses = (GUEST_V6.into(), GATEWAY_V6.into());
    let mut bare = udp(GATEWAY, addresses.0, addresses.1, (4000, 53), b"0123456789ab");
    bare[60..62].fill(0);
    assert_drops(&[
        ("shorter than its header", short, Drop::Malformed),
        ("longer than its packet", long, Drop::Malformed),
        ("no checksum in IPv6", bare, Drop::Checksum),
    ]);

    let deaf = Station::new(Config { dns: false, ..config() }).unwrap();
    assert_eq!(handle(&deaf, &query).0, Verdict::Local(packet));
}

#[test]
fn a_router_tells_who_asks_and_nobody_else_is_one() {
    let ask = |source: Ipv6Addr, options: &[u8]| {
        let all: Ipv6Addr = "ff02::2".parse().unwrap();
        let message = [&[133, 0, 0, 0, 0, 0, 0, 0][..], options].concat();
        v6(group_mac(all), (source, all), (58, 255), &icmp_v6(source, all, &message))
    };
    let (verdict, answer) = handle(&station(), &ask(link_local(), &SOURCE_LINK_ADDRESS));
    assert_eq!(verdict, Verdict::Answered(Answer::Router));
    assert_eq!(answer[38..54], link_local().octets());
    let (_, answer) = handle(&station(), &ask(Ipv6Addr::UNSPECIFIED, &[]));
    assert_eq!(answer[38..40], [0xff, 2]);
    assert_eq!(answer[..6], GUEST.0, "but in a frame to the one who asked");

    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    let rogue = icmp_v6(link_local(), all, &[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_drops(&[
        (
            "who says where it is but not who",
            ask(Ipv6Addr::UNSPECIFIED, &SOURCE_LINK_ADDRESS),
            Drop::Malformed,
        ),
        ("an option of no octets", ask(link_local(), &[1, 0, 0, 0, 0, 0, 0, 0]), Drop::Malformed),
        (
            "another router",
            v6(group_mac(all), (link_local(), all), (58, 255), &rogue),
            Drop::RogueRouter,
        ),
    ]);
    let silent = Station::new(Config { router: None, ..config() }).unwrap();
    let asked = ask(link_local(), &[]);
    assert_eq!(handle(&silent, &asked).0, Verdict::Drop(Drop::Off));
    assert!(!silent.advertise(Life::Going, &mut Vec::new()));
}

#[test]
fn an_advertisement_says_what_the_network_is() {
    let advertise = |config: Config, life| {
        let mut out = Vec::new();
        assert!(Station::new(config).unwrap().advertise(life, &mut out));
        assert_eq!(out[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(out[12..14], EtherType::IPV6.0.to_be_bytes());
        assert_eq!(out[21], 255);
        assert_well_formed(&out);
        out.split_off(54)
    };
    let option = |message: &[u8], wanted: u8| {
        let mut rest = &message[16..];
        while let [kind, units, ..] = *rest {
            let (option, after) = rest.split_at(8 * usize::from(units));
            if kind == wanted {
                return Some(option.to_vec());
            }
            rest = after;
        }
        None
    };
    let message = advertise(config(), Life::Going);
    assert_eq!(message[..8], [134, 0, message[2], message[3], 64, 0x40, 7, 8]);
    assert_eq!(option(&message, 5).unwrap()[6..], MTU.to_be_bytes());
    let prefix = option(&message, 3).unwrap();
    assert_eq!((prefix[2], prefix[3], &prefix[16..18]), (64, 0xc0, &[0xfd, 9][..]));
    let resolver = option(&message, 25).unwrap();
    assert_eq!((&resolver[4..8], &resolver[8..]), (&[0, 0, 7, 8][..], &GATEWAY_V6.octets()[..]));
    assert_eq!(option(&message, 31).unwrap()[8..28], *b"\x04blue\x04weft\x08internal\0");

    let last = advertise(config(), Life::Ceasing);
    assert_eq!((&last[6..8], &option(&last, 25).unwrap()[4..8]), (&[0, 0][..], &[0; 4][..]));
    let inner = advertise(Config { leads_out: false, dns: false, ..config() }, Life::Going);
    assert_eq!((&inner[6..8], option(&inner, 25)), (&[0, 0][..], None));
    let narrow = advertise(
        Config { mtu: 1279, addresses: vec!["fd09::1/112".parse().unwrap()], ..config() },
        Life::Going,
    );
    assert_eq!((option(&narrow, 5), option(&narrow, 3).unwrap()[3]), (None, 0x80));
}

#[test]
fn every_frame_is_counted_once() {
    let mut tally = Tally::new();
    for frame in [
        arp(1, (GUEST, GUEST_V4), GATEWAY_V4),
        v4(GATEWAY, (GUEST_V4, OUTSIDE_V4), 99, b"x"),
        Vec::new(),
    ] {
        tally.count(&verdict(&frame));
    }
    assert_eq!(
        (tally.answered(Answer::Arp), tally.passed(), tally.dropped(Drop::Runt), tally.total()),
        (1, 1, 1, 3)
    );
}
