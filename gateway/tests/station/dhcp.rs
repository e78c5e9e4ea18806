//! DHCP as RFC 2131 and RFC 8415 have it.

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};
use weft_gateway::station::{Answer, Config, Dhcp, Drop, Station, Verdict};

use crate::frames::*;
use crate::reading::udp_payload;

const MASK: u8 = 1;
const ROUTER: u8 = 3;
const DOMAIN: u8 = 15;
const REQUESTED: u8 = 50;
const TYPE: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const MAX_SIZE: u8 = 57;
const CLIENT: u8 = 61;
const RAPID: u8 = 80;
const SEARCH: u8 = 119;
const ROUTES: u8 = 121;

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const RELEASE: u8 = 7;
const INFORM: u8 = 8;

const OTHER: [u8; 4] = [10, 9, 0, 99];

/// What a client sends.
#[derive(Clone)]
struct Message {
    kind: u8,
    current: Ipv4Addr,
    flags: u8,
    options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    fn new(kind: u8, options: &[(u8, &[u8])]) -> Self {
        let options = options.iter().map(|(kind, data)| (*kind, data.to_vec())).collect();
        Self { kind, current: Ipv4Addr::UNSPECIFIED, flags: 0, options }
    }

    fn at(self, current: Ipv4Addr) -> Self {
        Self { current, ..self }
    }

    fn payload(&self) -> Vec<u8> {
        let mut octets = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, self.flags, 0];
        octets.extend(self.current.octets());
        octets.extend([0; 12]);
        octets.extend(GUEST.0);
        octets.resize(236, 0);
        octets.extend([0x63, 0x82, 0x53, 0x63, TYPE, 1, self.kind]);
        for (kind, data) in &self.options {
            octets.extend([*kind, data.len() as u8]);
            octets.extend(data);
        }
        octets.push(255);
        octets
    }

    fn frame(&self) -> Vec<u8> {
        sent(&self.payload(), self.current)
    }
}

fn sent(payload: &[u8], source: Ipv4Addr) -> Vec<u8> {
    udp(EVERYBODY, source.into(), Ipv4Addr::BROADCAST.into(), (68, 67), payload)
}

/// The answer's options, each as it stands there.
fn option(answer: &[u8], wanted: u8) -> Option<Vec<u8>> {
    let packet = DhcpPacket::new_checked(udp_payload(answer)).unwrap();
    let found = packet.options().find(|option| option.kind == wanted);
    found.map(|option| option.data.to_vec())
}

fn answered(station: &Station, message: &Message) -> (Answer, Vec<u8>) {
    let (verdict, answer) = handle(station, &message.frame());
    let Verdict::Answered(kind) = verdict else { panic!("{verdict:?}") };
    (kind, answer)
}

#[test]
#[rustfmt::skip]
fn a_lease_is_offered_acknowledged_and_refused_as_rfc_2131_has_it() {
    use {Answer as A, Drop as D};
    let own = GUEST_V4.octets();
    let us = GATEWAY_V4.octets();
    let message = |kind, options: &[(u8, &[u8])]| Message::new(kind, options);
    let ours: &[(u8, &[u8])] = &[(REQUESTED, &own), (SERVER, &us)];
    let not_that: &[(u8, &[u8])] = &[(REQUESTED, &OTHER), (SERVER, &us)];
    let elsewhere: &[(u8, &[u8])] = &[(REQUESTED, &own), (SERVER, &OTHER)];
    let everyone = [224, 0, 0, 1].into();
    let cases = [
        ("any address",       message(DISCOVER, &[]),                   Ok(A::DhcpOffer)),
        ("another address",   message(DISCOVER, &[(REQUESTED, &OTHER)]), Ok(A::DhcpOffer)),
        ("at once",           message(DISCOVER, &[(RAPID, &[])]),       Ok(A::DhcpAck)),
        ("what was offered",  message(REQUEST, ours),                   Ok(A::DhcpAck)),
        ("not that",          message(REQUEST, not_that),               Ok(A::DhcpNak)),
        ("another server's",  message(REQUEST, elsewhere),              Err(D::DhcpOtherServer)),
        ("after a reboot",    message(REQUEST, &[(REQUESTED, &own)]),   Ok(A::DhcpAck)),
        ("in a new network",  message(REQUEST, &[(REQUESTED, &OTHER)]), Ok(A::DhcpNak)),
        ("renewal",           message(REQUEST, &[]).at(GUEST_V4),       Ok(A::DhcpAck)),
        ("not one's own",     message(REQUEST, &[]).at(OTHER.into()),   Ok(A::DhcpNak)),
        ("nothing at all",    message(REQUEST, &[]),                    Err(D::DhcpMalformed)),
        ("what else?",        message(INFORM, &[]).at(GUEST_V4),        Ok(A::DhcpAck)),
        ("from elsewhere",    message(INFORM, &[]).at(OUTSIDE_V4),      Err(D::DhcpStranger)),
        ("taken",             message(DECLINE, ours),                   Err(D::DhcpDecline)),
        ("given back",        message(RELEASE, &[]).at(GUEST_V4),       Err(D::DhcpRelease)),
        ("an offer",          message(2, &[]),                          Err(D::DhcpUnserved)),
        ("something new",     message(42, &[]),                         Err(D::DhcpUnserved)),
        ("a short address",   message(REQUEST, &[(REQUESTED, &own[..3])]), Err(D::DhcpMalformed)),
        ("to a group",        message(REQUEST, &[]).at(everyone),       Err(D::DhcpMalformed)),
    ];
    for (what, message, expected) in cases {
        let (verdict, answer) = handle(&station(), &message.frame());
        match expected {
            Err(reason) => assert_eq!(verdict, Verdict::Drop(reason), "{what}"),
            Ok(kind) => {
                assert_eq!(verdict, Verdict::Answered(kind), "{what}");
                assert_eq!(option(&answer, SERVER).unwrap(), us, "{what}");
                assert_eq!(udp_payload(&answer)[4..8], [0xde, 0xad, 0xbe, 0xef], "{what}");
            }
        }
    }
}

#[test]
fn an_answer_goes_to_the_address_that_the_client_listens_on() {
    let renewal = Message::new(REQUEST, &[]).at(GUEST_V4);
    let mut deaf = Message::new(DISCOVER, &[]);
    deaf.flags = 0x80;
    let cases = [
        (Message::new(DISCOVER, &[]), GUEST_V4),
        (renewal.clone(), GUEST_V4),
        (Message { flags: 0x80, ..renewal }, GUEST_V4),
        (deaf, Ipv4Addr::BROADCAST),
        (Message::new(REQUEST, &[(REQUESTED, &OTHER)]), Ipv4Addr::BROADCAST),
    ];
    for (message, destination) in cases {
        let (_, answer) = answered(&station(), &message);
        assert_eq!(answer[30..34], destination.octets());
        assert_eq!(
            (&answer[26..30], &answer[34..38]),
            (&GATEWAY_V4.octets()[..], &[0, 67, 0, 68][..])
        );
        assert!(udp_payload(&answer).len() >= 300, "RFC 1542 §2.1");
    }
}

#[test]
fn another_reader_finds_in_the_answer_what_was_granted() {
    let (_, answer) = answered(&station(), &Message::new(DISCOVER, &[]));
    let packet = DhcpPacket::new_checked(udp_payload(&answer)).unwrap();
    let offer = DhcpRepr::parse(&packet).unwrap();
    assert_eq!(offer.message_type, DhcpMessageType::Offer);
    assert_eq!((offer.your_ip, offer.server_identifier), (GUEST_V4, Some(GATEWAY_V4)));
    assert_eq!(
        (offer.router, offer.subnet_mask),
        (Some(GATEWAY_V4), Some([255, 255, 255, 0].into()))
    );
    assert_eq!((offer.lease_duration, offer.renew_duration, offer.rebind_duration), {
        (Some(3600), Some(1800), Some(3150))
    });
    assert_eq!(offer.dns_servers.unwrap()[..], [GATEWAY_V4]);
    assert_eq!(option(&answer, DOMAIN).unwrap(), b"blue.weft.internal");
    assert_eq!(option(&answer, SEARCH).unwrap(), b"\x04blue\x04weft\x08internal\0");
    assert_eq!(option(&answer, 12).unwrap(), b"web");
    assert_eq!(option(&answer, 26).unwrap(), MTU.to_be_bytes());
    assert_eq!(option(&answer, 28).unwrap(), [10, 9, 0, 255]);
}

#[test]
fn a_client_is_told_what_it_asks_for_and_its_identifier_comes_back() {
    let asked =
        Message::new(DISCOVER, &[(PARAMETERS, &[DOMAIN]), (CLIENT, b"\x01guest"), (82, b"?")]);
    let (_, answer) = answered(&station(), &asked);
    assert_eq!(option(&answer, CLIENT).unwrap(), b"\x01guest");
    assert_eq!(option(&answer, DOMAIN).unwrap(), b"blue.weft.internal");
    assert_eq!((option(&answer, ROUTER), option(&answer, SEARCH), option(&answer, 82)), {
        (None, None, None)
    });
    assert!(option(&answer, MASK).is_some(), "needed always");
    let (_, refusal) = answered(&station(), &Message::new(REQUEST, &[(REQUESTED, &OTHER)]));
    assert_eq!((option(&refusal, 51), option(&refusal, MASK)), (None, None));
    assert_eq!(udp_payload(&refusal)[16..20], [0; 4], "a refusal names no address");
}

#[test]
fn routes_include_the_way_out_and_a_network_without_one_names_no_router() {
    let routes = vec![("192.168.0.0/20".parse().unwrap(), [10, 9, 0, 5].into())];
    let dhcp = Some(Dhcp { lease_seconds: 3600, routes });
    let station = Station::new(Config { dhcp: dhcp.clone(), ..config() }).unwrap();
    let (_, answer) = answered(&station, &Message::new(DISCOVER, &[]));
    let expected = [0, 10, 9, 0, 1, 20, 192, 168, 0, 10, 9, 0, 5];
    assert_eq!(option(&answer, ROUTES).unwrap(), expected);
    let inner = Config { dhcp, leads_out: false, dns: false, ..config() };
    let (_, answer) = answered(&Station::new(inner).unwrap(), &Message::new(DISCOVER, &[]));
    assert_eq!(option(&answer, ROUTES).unwrap(), expected[5..]);
    assert_eq!((option(&answer, ROUTER), option(&answer, 6)), (None, None));
}

#[test]
fn what_does_not_fit_is_left_out_and_never_the_end() {
    let search = vec!["x".repeat(60); 4].join(".");
    let config = Config { search, mtu: 576, ..config() };
    let station = Station::new(config).unwrap();
    for size in [0_u16, 576, 700, 1500, u16::MAX] {
        let asked = Message::new(DISCOVER, &[(MAX_SIZE, &size.to_be_bytes()), (CLIENT, &[7; 200])]);
        let (_, answer) = answered(&station, &asked);
        assert!(answer.len() <= 14 + 576);
        assert!(option(&answer, MASK).is_some());
        assert_eq!(option(&answer, SEARCH), None);
        assert!(udp_payload(&answer).contains(&255));
    }
    let greedy = Message::new(DISCOVER, &[(CLIENT, &[7; 255])]);
    assert_eq!(answered(&station, &greedy).0, Answer::DhcpOffer);
}

#[test]
fn messages_that_are_not_a_clients_own_are_dropped() {
    let good = Message::new(DISCOVER, &[]).payload();
    let with = |at: usize, octet: u8| {
        let mut payload = good.clone();
        payload[at] = octet;
        sent(&payload, Ipv4Addr::UNSPECIFIED)
    };
    let cut = |len: usize| sent(&good[..len], Ipv4Addr::UNSPECIFIED);
    let cases = [
        ("a reply", with(0, 2), Drop::DhcpMalformed),
        ("token ring", with(1, 6), Drop::DhcpMalformed),
        ("a long address", with(2, 16), Drop::DhcpMalformed),
        ("another's address", with(28, 6), Drop::DhcpMalformed),
        ("no magic", with(236, 0), Drop::DhcpMalformed),
        ("through a relay", with(24, 10), Drop::DhcpUnserved),
        ("no kind", with(240, 0), Drop::DhcpMalformed),
        ("a long kind", with(241, 2), Drop::DhcpMalformed),
        ("an option that is cut off", with(241, 200), Drop::DhcpMalformed),
        ("half a header", cut(100), Drop::DhcpMalformed),
        ("no options", cut(240), Drop::DhcpMalformed),
        ("half an option", cut(242), Drop::DhcpMalformed),
    ];
    for (what, frame, reason) in cases {
        assert_eq!(handle(&station(), &frame).0, Verdict::Drop(reason), "{what}");
    }
    let mut foreign = Message::new(DISCOVER, &[]).payload();
    foreign[28..34].copy_from_slice(&STRANGER.0);
    let mut foreign = sent(&foreign, Ipv4Addr::UNSPECIFIED);
    foreign[6..12].copy_from_slice(&STRANGER.0);
    assert_eq!(handle(&station(), &foreign).0, Verdict::Drop(Drop::DhcpStranger));
    let off = Station::new(Config { dhcp: None, ..config() }).unwrap();
    let asked = Message::new(DISCOVER, &[]).frame();
    assert_eq!(handle(&off, &asked).0, Verdict::Drop(Drop::Off));
}

#[test]
#[rustfmt::skip]
fn dhcpv6_tells_who_knows_names_and_leases_nothing() {
    let servers: Ipv6Addr = "ff02::1:2".parse().unwrap();
    let ask = |kind: u8, options: &[u8], destination: Ipv6Addr| {
        let payload = [&[kind, 1, 2, 3], options].concat();
        let to = if destination.is_multicast() { group_mac(destination) } else { GATEWAY };
        udp(to, GUEST.link_local().into(), destination.into(), (546, 547), &payload)
    };
    let client = [0, 1, 0, 4, 9, 9, 9, 9];
    let wanted = [0, 6, 0, 6, 0, 23, 0, 24, 0, 32];
    let options = [&client[..], &wanted].concat();
    let (verdict, answer) = handle(&station(), &ask(11, &options, servers));
    assert_eq!(verdict, Verdict::Answered(Answer::Dhcp6Reply));
    let us = [0, 2, 0, 10, 0, 3, 0, 1, 2, 0x77, 0, 0, 0, 1];
    let resolver = [&[0, 23, 0, 16][..], &GATEWAY_V6.octets()].concat();
    let expected = [
        &[7, 1, 2, 3][..], &us, &client, &resolver,
        b"\0\x18\0\x14\x04blue\x04weft\x08internal\0", &[0, 32, 0, 4, 0, 1, 0x51, 0x80],
    ].concat();
    assert_eq!(udp_payload(&answer), expected);

    let (_, terse) = handle(&station(), &ask(11, &[], servers));
    assert_eq!(udp_payload(&terse), [&[7, 1, 2, 3][..], &us].concat());
    let other = [0, 2, 0, 2, 0, 9];
    let long = [&[0, 1, 0, 131][..], &[0; 131]].concat();
    let cases = [
        ("an address",           ask(1, &[], servers),                      Drop::DhcpUnserved),
        ("by unicast",           ask(11, &[], GATEWAY_V6),                  Drop::DhcpUnserved),
        ("another server's",     ask(11, &other, servers),                  Drop::DhcpOtherServer),
        ("with an address",      ask(11, &[0, 3, 0, 0], servers),           Drop::DhcpMalformed),
        ("half an option",       ask(11, &[0, 1, 0], servers),              Drop::DhcpMalformed),
        ("a cut option",         ask(11, &[0, 1, 0, 9, 1], servers),        Drop::DhcpMalformed),
        ("a long identifier",    ask(11, &long, servers),                   Drop::DhcpMalformed),
    ];
    for (what, frame, reason) in cases {
        assert_eq!(handle(&station(), &frame).0, Verdict::Drop(reason), "{what}");
    }
}
