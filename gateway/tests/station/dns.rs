//! Names: whose they are, what they have, and what others say about the rest.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ToName};
use domain::rdata::{A, AllRecordData};
use proptest::prelude::*;
use weft_gateway::station::dns::{
    Asked, Decision, MAX_ANSWERS, MAX_QUERY, Mismatch, Names, Pending, Resolver, Transport,
};
use weft_gateway::station::{Config, Drop, Station};

use crate::frames::{config, station};

const UDP: Transport = Transport::Udp { room: 1372 };
const ID: u16 = 0x1234;
const SENT_ID: u16 = 0xbeef;

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn names() -> Names {
    let mut names = Names::new();
    names.add("Web", &addresses(&["10.9.0.7", "fd09::7"])).unwrap();
    names.add("db", &addresses(&["10.9.0.8"])).unwrap();
    names.add("a.b", &addresses(&["10.9.0.10"])).unwrap();
    for address in ["10.9.0.7", "10.9.0.8", "10.9.0.10"] {
        names.add_alias("all", &addresses(&[address])).unwrap();
    }
    let many: Vec<IpAddr> = (0..100).map(|last| [10, 9, 1, last].into()).collect();
    names.add_alias("many", &many).unwrap();
    names
}

fn resolver() -> Resolver {
    Resolver::new(&station(), addresses(&["10.9.0.1", "fd09::1"]))
}

fn ask(message: &[u8], transport: Transport, turn: u32) -> Decision {
    resolver().decide(&Asked { message, transport, id: SENT_ID, turn }, &[&names()])
}

pub(crate) fn decide(message: &[u8]) -> Decision {
    ask(message, UDP, 0)
}

fn query(name: &str, rtype: Rtype) -> Vec<u8> {
    query_with(name, rtype, None)
}

fn query_with(name: &str, rtype: Rtype, edns: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(ID);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((Name::vec_from_str(name).unwrap(), rtype)).unwrap();
    let mut builder = builder.additional();
    if let Some(size) = edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

/// The code and the records of an answer, each as text.
fn read(answer: &[u8]) -> (Rcode, Vec<String>) {
    let message = Message::from_octets(answer).unwrap();
    assert_eq!((message.header().id(), message.header().qr()), (ID, true));
    assert!(message.header().rd() && message.header().ra());
    let records = message.answer().unwrap().limit_to::<AllRecordData<_, _>>();
    let records = records.map(|record| record.unwrap().data().to_string());
    (message.header().rcode(), records.collect())
}

fn answer(name: &str, rtype: Rtype) -> (Rcode, Vec<String>) {
    let decision = decide(&query(name, rtype));
    let Decision::Answer(answer) = &decision else { panic!("{name}: {decision:?}") };
    read(answer)
}

fn pending(name: &str, edns: Option<u16>) -> Pending {
    let decision = decide(&query_with(name, Rtype::A, edns));
    let Decision::Forward(pending) = decision else { panic!("{name}: {decision:?}") };
    pending
}

#[test]
#[rustfmt::skip]
fn names_of_the_network_have_addresses_or_nothing_or_are_nobodys() {
    use Rcode as R;
    let cases: [(&str, Rtype, Rcode, &[&str]); 26] = [
        ("web",                     Rtype::A,    R::NOERROR,  &["10.9.0.7"]),
        ("web",                     Rtype::AAAA, R::NOERROR,  &["fd09::7"]),
        ("web",                     Rtype::ANY,  R::NOERROR,  &["10.9.0.7", "fd09::7"]),
        ("web",                     Rtype::MX,   R::NOERROR,  &[]),
        ("WEB.Blue.weft.internal",  Rtype::A,    R::NOERROR,  &["10.9.0.7"]),
        ("web.weft.internal",       Rtype::A,    R::NOERROR,  &["10.9.0.7"]),
        ("db",                      Rtype::AAAA, R::NOERROR,  &[]),
        ("a.b",                     Rtype::A,    R::NOERROR,  &["10.9.0.10"]),
        ("a.b.blue.weft.internal",  Rtype::A,    R::NOERROR,  &["10.9.0.10"]),
        ("b.weft.internal",         Rtype::A,    R::NXDOMAIN, &[]),
        ("x.web.weft.internal",     Rtype::A,    R::NXDOMAIN, &[]),
        ("weft.internal",           Rtype::A,    R::NOERROR,  &[]),
        ("blue.weft.internal",      Rtype::A,    R::NOERROR,  &[]),
        ("host.weft.internal",      Rtype::A,    R::NOERROR,  &["10.9.0.1"]),
        ("gateway.weft.internal",   Rtype::AAAA, R::NOERROR,  &["fd09::1"]),
        ("localhost",               Rtype::A,    R::NOERROR,  &["127.0.0.1"]),
        ("x.localhost",             Rtype::AAAA, R::NOERROR,  &["::1"]),
        ("_dns.resolver.arpa",      Rtype::SVCB, R::NOERROR,  &[]),
        ("7.0.9.10.in-addr.arpa",   Rtype::PTR,  R::NOERROR,  &["web.blue.weft.internal."]),
        ("7.0.9.10.in-addr.arpa",   Rtype::A,    R::NOERROR,  &[]),
        ("1.0.9.10.in-addr.arpa",   Rtype::PTR,  R::NOERROR,  &["gateway.weft.internal."]),
        ("9.0.9.10.in-addr.arpa",   Rtype::PTR,  R::NXDOMAIN, &[]),
        ("0.9.10.in-addr.arpa",     Rtype::SOA,  R::NOERROR,  &[]),
        ("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.d.f.ip6.arpa",
                                    Rtype::PTR,  R::NOERROR,  &["web.blue.weft.internal."]),
        ("8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.D.F.ip6.arpa",
                                    Rtype::PTR,  R::NXDOMAIN, &[]),
        ("all",                     Rtype::AAAA, R::NOERROR,  &[]),
    ];
    for (name, rtype, rcode, records) in cases {
        let expected = (rcode, records.iter().map(ToString::to_string).collect());
        assert_eq!(answer(name, rtype), expected, "{name} {rtype}");
    }
}

#[test]
fn everything_else_is_asked_elsewhere_as_it_came_but_under_another_identifier() {
    let elsewhere = [
        "example.com",
        "nobody",
        "web.example.com",
        "notweft.internal",
        "9.in-addr.arpa",
        "10.in-addr.arpa",
        "1.1.1.1.in-addr.arpa",
        ".",
    ];
    for name in elsewhere {
        let asked = query_with(name, Rtype::A, Some(4096));
        let Decision::Forward(pending) = decide(&asked) else { panic!("{name}") };
        assert_eq!(pending.query()[..2], SENT_ID.to_be_bytes(), "{name}");
        assert_eq!(pending.query()[2..], asked[2..], "{name}");
        assert_eq!(pending.id(), SENT_ID);
    }
    // A search domain that is somebody's in the public tree is looked up there.
    let config = Config { search: "corp.example".to_string(), ..config() };
    let resolver = Resolver::new(&Station::new(config).unwrap(), Vec::new());
    let decide = |name| {
        let message = query(name, Rtype::A);
        let asked = Asked { message: &message, transport: UDP, id: 1, turn: 0 };
        resolver.decide(&asked, &[&names()])
    };
    assert!(matches!(decide("mail.corp.example"), Decision::Forward(_)));
    assert!(matches!(decide("web.corp.example"), Decision::Answer(_)));
    let Decision::Answer(nobody) = decide("host.weft.internal") else { panic!() };
    assert_eq!(read(&nobody), (Rcode::NXDOMAIN, vec![]), "no host to be reached");
}

#[test]
fn names_of_several_networks_are_found_the_nearest_first() {
    let mut far = Names::new();
    far.add("web", &addresses(&["10.8.0.7"])).unwrap();
    far.add("far", &addresses(&["10.8.0.9"])).unwrap();
    let near = names();
    let look = |name| {
        let message = query(name, Rtype::ANY);
        let asked = Asked { message: &message, transport: UDP, id: 1, turn: 0 };
        let decision = resolver().decide(&asked, &[&near, &far]);
        let Decision::Answer(answer) = &decision else { panic!("{decision:?}") };
        read(answer).1
    };
    assert_eq!(look("web"), ["10.9.0.7", "fd09::7"]);
    assert_eq!(look("far"), ["10.8.0.9"]);
    assert_eq!(look("9.0.8.10.in-addr.arpa"), ["far.blue.weft.internal."]);
}

#[test]
fn addresses_take_turns_and_the_case_of_the_question_comes_back() {
    let message = query("aLL.weft.InterNal", Rtype::A);
    let mut firsts = Vec::new();
    for turn in 0..4 {
        let Decision::Answer(answer) = ask(&message, UDP, turn) else { panic!() };
        let (_, records) = read(&answer);
        assert_eq!(records.len(), 3);
        firsts.push(records[0].clone());
        assert_eq!(answer[12..35], message[12..35]);
    }
    assert_eq!(firsts, ["10.9.0.7", "10.9.0.8", "10.9.0.10", "10.9.0.7"]);
}

#[test]
fn an_answer_fits_what_the_client_takes_and_says_when_it_is_cut() {
    let cases = [
        // EDNS, transport, the longest answer, whether it is cut
        (None, UDP, 512, true),
        (Some(0), UDP, 512, true),
        (Some(600), UDP, 600, false),
        (Some(4096), UDP, 1372, false),
        (Some(4096), Transport::Udp { room: 548 }, 548, true),
        (None, Transport::Tcp, 65_535, false),
    ];
    for (edns, transport, longest, is_cut) in cases {
        let name = format!("many.{}", "blue.weft.internal");
        let message = query_with(&name, Rtype::A, edns);
        let Decision::Answer(answer) = ask(&message, transport, 7) else { panic!() };
        assert!(answer.len() <= longest, "{edns:?}: {}", answer.len());
        let header = Message::from_slice(&answer).unwrap().header();
        assert_eq!(header.tc(), is_cut || read(&answer).1.len() < MAX_ANSWERS, "{edns:?}");
        let opt = Message::from_octets(&answer[..]).unwrap().opt();
        assert_eq!(opt.map(|opt| opt.udp_payload_size()), edns.map(|_| 1232), "{edns:?}");
    }
    let Decision::Answer(all) = ask(&query("many", Rtype::A), Transport::Tcp, 95) else { panic!() };
    let (_, records) = read(&all);
    assert_eq!((records.len(), &records[5][..]), (MAX_ANSWERS, "10.9.1.0"));
}

#[test]
fn what_is_no_plain_query_is_refused_with_the_code_for_it() {
    let with = |change: fn(&mut Vec<u8>)| {
        let mut message = query_with("web", Rtype::A, Some(1232));
        change(&mut message);
        match decide(&message) {
            Decision::Answer(answer) => {
                let message = Message::from_octets(answer).unwrap();
                assert_eq!(message.header().id(), ID);
                assert_eq!(message.header_counts().ancount(), 0);
                Ok(message.opt_rcode())
            }
            Decision::Drop(reason) => Err(reason),
            Decision::Forward(_) => panic!("forwarded"),
        }
    };
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, Result<OptRcode, Drop>); 17] = [
        ("nothing", |m| m.clear(), Err(Drop::DnsMalformed)),
        ("half a header", |m| m.truncate(11), Err(Drop::DnsMalformed)),
        ("a response", |m| m[2] |= 0x80, Err(Drop::DnsResponse)),
        ("a notification", |m| m[2] |= 0x20, Ok(OptRcode::NOTIMP)),
        ("an update", |m| m[2] |= 0x28, Ok(OptRcode::NOTIMP)),
        ("no question", |m| m[5] = 0, Ok(OptRcode::FORMERR)),
        ("two questions", |m| m[5] = 2, Ok(OptRcode::FORMERR)),
        ("an answer in it", |m| m[7] = 1, Ok(OptRcode::FORMERR)),
        ("an authority in it", |m| m[9] = 1, Ok(OptRcode::FORMERR)),
        ("one record too many", |m| m[11] = 2, Ok(OptRcode::FORMERR)),
        ("something behind it", |m| m.push(0), Ok(OptRcode::FORMERR)),
        ("a pointer to itself", |m| m[12..14].copy_from_slice(&[0xc0, 12]), Ok(OptRcode::FORMERR)),
        ("a pointer ahead", |m| m[12..14].copy_from_slice(&[0xc0, 40]), Ok(OptRcode::FORMERR)),
        ("a label of no kind", |m| m[12] = 0x80, Ok(OptRcode::FORMERR)),
        ("another class", |m| m[20] = Class::CH.to_int() as u8, Ok(OptRcode::REFUSED)),
        ("a whole zone", |m| m[18] = 252, Ok(OptRcode::REFUSED)),
        ("EDNS 1", |m| m[27] = 1, Ok(OptRcode::BADVERS)),
    ];
    for (what, change, expected) in cases {
        assert_eq!(with(change), expected, "{what}");
    }
    let long = |m: &mut Vec<u8>| {
        // An option of EDNS that fills more than a query may have.
        let len = (MAX_QUERY - m.len()) as u16;
        let at = m.len() - 2;
        m[at..].copy_from_slice(&(len + 1).to_be_bytes());
        m.extend([0, 12]);
        m.extend((len + 1 - 4).to_be_bytes());
        m.resize(m.len() + usize::from(len + 1 - 4), 0);
    };
    assert_eq!(with(long), Ok(OptRcode::FORMERR));
}

/// What a server says to `query`: a number of addresses.
fn reply(query: &[u8], count: u8) -> Vec<u8> {
    let query = Message::from_octets(query).unwrap();
    let mut builder = MessageBuilder::new_vec().start_answer(&query, Rcode::NOERROR).unwrap();
    builder.header_mut().set_ra(true);
    let name = query.sole_question().unwrap().qname().to_name::<Vec<u8>>();
    for last in 0..count {
        builder.push((&name, 60, A::from_octets(192, 0, 2, last))).unwrap();
    }
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(4096);
            Ok(())
        })
        .unwrap();
    builder.finish()
}

#[test]
fn an_answer_from_elsewhere_becomes_the_clients() {
    let pending = pending("ExAmple.com", Some(1232));
    let mut answer = reply(pending.query(), 2);
    answer[12..25].make_ascii_lowercase();
    let got = pending.answer(&answer).unwrap();
    assert_eq!(
        read(&got),
        (Rcode::NOERROR, vec!["192.0.2.0".to_string(), "192.0.2.1".to_string()])
    );
    assert_eq!(&got[13..20], b"ExAmple", "as the client spelled it");
}

#[test]
fn an_answer_that_is_too_long_is_cut_and_says_so() {
    for (edns, fits, too_long) in [(None, 15, 20), (Some(1232), 40, 60)] {
        let pending = pending("example.com", edns);
        let whole = pending.answer(&reply(pending.query(), fits)).unwrap();
        assert!(!Message::from_slice(&whole).unwrap().header().tc());
        let cut = pending.answer(&reply(pending.query(), too_long)).unwrap();
        let message = Message::from_octets(&cut[..]).unwrap();
        assert!(message.header().tc() && cut.len() < 60);
        assert_eq!(read(&cut), (Rcode::NOERROR, vec![]));
        assert_eq!(message.opt().is_some(), edns.is_some());
    }
}

#[test]
fn an_answer_to_another_question_is_not_believed() {
    let pending = pending("example.com", None);
    let good = reply(pending.query(), 1);
    let with = |at: usize, octet: u8| {
        let mut answer = good.clone();
        answer[at] = octet;
        pending.answer(&answer)
    };
    assert!(pending.answer(&good).is_ok());
    let cases = [
        ("another identifier", with(0, 0), Mismatch::Identifier),
        ("a query", with(2, 1), Mismatch::NoResponse),
        ("another kind", with(2, 0xa0), Mismatch::NoResponse),
        ("another name", with(13, b'x'), Mismatch::Question),
        ("a longer label", with(12, 8), Mismatch::Question),
        ("another type", with(26, 28), Mismatch::Question),
        ("another class", with(28, 3), Mismatch::Question),
        ("two questions", with(5, 2), Mismatch::Question),
        ("none", with(5, 0), Mismatch::Question),
        ("half a header", pending.answer(&good[..11]), Mismatch::NoResponse),
        ("half a question", pending.answer(&good[..20]), Mismatch::Question),
        ("its own query", pending.answer(pending.query()), Mismatch::NoResponse),
    ];
    for (what, result, expected) in cases {
        assert_eq!(result, Err(expected), "{what}");
    }
}

#[test]
fn servers_that_fail_or_do_not_understand_are_quoted() {
    let pending = pending("example.com", Some(1232));
    assert_eq!(read(&pending.failure()), (Rcode::SERVFAIL, vec![]));
    let mut curt = vec![0; 12];
    curt[..4].copy_from_slice(&[0xbe, 0xef, 0x80, 4]);
    assert_eq!(read(&pending.answer(&curt).unwrap()), (Rcode::NOTIMP, vec![]));
    assert_eq!(Message::from_slice(&curt).unwrap().header().opcode(), Opcode::QUERY);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Nothing that is sent as a query or as an answer makes more than what is allowed.
    #[test]
    fn no_message_is_answered_with_more_than_fits(
        octets in prop::collection::vec(any::<u8>(), 0..600),
        name in "(web|all|many|[a-z]{1,9})(\\.(blue\\.)?weft\\.internal)?",
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        edns in prop::option::of(any::<u16>()),
        room in 548_usize..1400,
        is_tcp in any::<bool>(),
        turn in any::<u32>(),
    ) {
        let mut message = query_with(&name, Rtype::A, edns);
        for (at, value) in edits {
            let at = at.index(message.len());
            message[at] = value;
        }
        let transport = if is_tcp { Transport::Tcp } else { Transport::Udp { room } };
        let limit = if is_tcp { 65_535 } else { room };
        for message in [&message[..], &octets] {
            match ask(message, transport, turn) {
                Decision::Answer(answer) => {
                    prop_assert!(answer.len() <= limit);
                    prop_assert_eq!(&answer[..2], &message[..2]);
                    prop_assert!(answer[2] & 0x80 != 0, "an answer is a response");
                }
                Decision::Forward(pending) => {
                    prop_assert_eq!(pending.query().len(), message.len());
                    prop_assert!(pending.failure().len() <= limit);
                    let mut answer = reply(pending.query(), octets.len() as u8);
                    for (at, value) in octets.iter().take(3).enumerate() {
                        let at = (at * 7919 + usize::from(*value)) % answer.len();
                        answer[at] ^= value;
                    }
                    for answer in [&answer[..], &octets] {
                        if let Ok(got) = pending.answer(answer) {
                            prop_assert!(got.len() <= limit);
                            prop_assert_eq!(&got[..2], &message[..2]);
                        }
                    }
                }
                Decision::Drop(_) => {}
            }
        }
    }
}
