use std::net::Ipv4Addr;

use proptest::prelude::*;
use weft_ipam::{GlobalId, Holder};

use super::*;
use crate::cnm::endpoint::EndpointKind;
use crate::cnm::ipam::IpamDriver;
use crate::cnm::network::{Subnet, SubnetSpec};
use crate::cnm::options::LiveOptions;

mod remote;

const BRIDGE: Id = Id::new([0xb0; 32]);
const HOST: Id = Id::new([0xb1; 32]);
const NONE: Id = Id::new([0xb2; 32]);

fn model() -> Model {
    let built_ins = BuiltIns { bridge: BRIDGE, host: HOST, none: NONE, created: 7 };
    let pools = DefaultPools::docker().with_ula(GlobalId([1; 5]));
    Model::new(pools, vec!["172.17.0.1/16".parse().unwrap()], built_ins)
}

/// An id whose text and station addresses differ from those of other numbers.
fn id(number: u8) -> Id {
    Id::new(std::array::from_fn(|at| number.wrapping_mul(31).wrapping_add((at * at * 7) as u8)))
}

fn network(number: u8, name: &str, subnets: &[&str]) -> NetworkSpec {
    let subnet =
        |text: &&str| SubnetSpec { subnet: Some(text.parse().unwrap()), ..SubnetSpec::default() };
    NetworkSpec {
        id: id(number),
        name: name.to_owned(),
        driver: Driver::Bridge,
        subnets: subnets.iter().map(subnet).collect(),
        internal: false,
        attachable: false,
        ipv4: true,
        ipv6: false,
        ipam: Ipam::default(),
        options: NetworkOptions::default(),
        labels: BTreeMap::new(),
        origin: Origin::Api,
        created: 9,
    }
}

fn endpoint(number: u8, name: &str, network: &str) -> EndpointSpec {
    EndpointSpec {
        id: id(number),
        sandbox: None,
        name: name.to_owned(),
        network: network.to_owned(),
        mac: None,
        ip: None,
        ip6: None,
        aliases: Vec::new(),
        ifname: None,
        kind: EndpointKind::Sandbox,
        origin: Origin::Api,
    }
}

fn addresses(model: &Model, id: Id) -> Vec<String> {
    model.endpoint(id).unwrap().addresses.iter().map(IpNetwork::to_string).collect()
}

#[test]
fn the_built_in_networks_exist_and_stay() {
    let mut model = model();
    let names: Vec<_> = model.networks().map(|own| (own.name.as_str(), own.driver)).collect();
    let expected = [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::None)];
    assert_eq!(names, expected);
    for name in ["bridge", "host", "none"] {
        let refusal = model.apply(Edit::RemoveNetwork(name.to_owned())).unwrap_err();
        assert_eq!(refusal, Refusal::BuiltIn { network: name.to_owned() });
    }
}

#[test]
fn bridge_takes_a_subnet_past_the_hosts_when_somebody_joins() {
    let mut model = model();
    assert!(model.network(BRIDGE).unwrap().subnets.is_empty());
    let wrong = EndpointSpec { ip: Some(Ipv4Addr::new(10, 0, 0, 1)), ..endpoint(1, "a", "bridge") };
    assert!(model.apply(Edit::AddEndpoint(wrong)).is_err());
    assert!(model.network(BRIDGE).unwrap().subnets.is_empty(), "a refusal changes nothing");

    model.apply(Edit::AddEndpoint(endpoint(1, "a", "bridge"))).unwrap();
    // 172.17.0.0/16 is a route of the host.
    assert_eq!(addresses(&model, id(1)), ["172.18.0.2/16"]);
    let gateways: Vec<_> = model.network(BRIDGE).unwrap().gateways().collect();
    assert_eq!(gateways, ["172.18.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn an_endpoint_that_comes_back_has_what_it_had() {
    let mut model = model();
    let subnets = ["10.0.0.0/24", "fd00::/64"];
    model.apply(Edit::AddNetwork(network(1, "blue", &subnets))).unwrap();
    model.apply(Edit::AddEndpoint(endpoint(2, "web", "blue"))).unwrap();
    assert_eq!(addresses(&model, id(2)), ["10.0.0.2/24", "fd00::2/64"]);
    let Ok(Outcome::EndpointRemoved(was)) = model.apply(Edit::RemoveEndpoint(id(2))) else {
        panic!("it is there");
    };
    model.apply(Edit::AddEndpoint(endpoint(3, "other", "blue"))).unwrap();
    assert_eq!(addresses(&model, id(3))[0], "10.0.0.3/24", "what was freed comes last");

    let again = EndpointSpec {
        mac: was.mac,
        ip: Some(Ipv4Addr::new(10, 0, 0, 2)),
        ip6: Some("fd00::2".parse().unwrap()),
        ..endpoint(2, "web", "blue")
    };
    assert_eq!(model.apply(Edit::AddEndpoint(again)), Ok(Outcome::EndpointAdded(id(2))));
    assert_eq!(model.endpoint(id(2)), Some(&*was));
}

#[test]
fn a_network_is_meant_by_name_by_id_or_by_the_beginning_of_its_id() {
    let mut model = model();
    model.apply(Edit::AddNetwork(network(1, "blue", &[]))).unwrap();
    let text = id(1).to_string();
    for reference in ["blue", &text, &text[..1], &text[..12]] {
        assert_eq!(model.resolve(reference).map(|own| own.id), Ok(id(1)), "{reference}");
    }
    assert_eq!(
        model.resolve("b").unwrap_err().to_string(),
        "b is the beginning of the ids of bridge, host and none"
    );
    for (reference, near) in [("bleu", Some("blue")), ("", None), ("storage", None)] {
        let near = near.map(str::to_owned);
        let expected = Refusal::UnknownNetwork { reference: reference.to_owned(), nearest: near };
        assert_eq!(model.resolve(reference), Err(expected));
    }
}

#[test]
fn a_network_has_the_families_that_were_asked_for() {
    let mut model = model();
    let cases: [(&str, &[&str], bool, &[&str]); 5] = [
        ("a", &[], false, &["172.18.0.0/16"]),
        ("b", &[], true, &["172.19.0.0/16", "fd01:101:101::/64"]),
        ("c", &["10.1.0.0/24"], true, &["10.1.0.0/24", "fd01:101:101:1::/64"]),
        ("d", &["fd00::/64"], false, &["fd00::/64"]),
        ("e", &["10.2.0.0/24", "10.3.0.0/24"], false, &["10.2.0.0/24", "10.3.0.0/24"]),
    ];
    for (number, (name, subnets, ipv6, expected)) in (1..).zip(cases) {
        let spec = NetworkSpec { ipv6, ..network(number, name, subnets) };
        model.apply(Edit::AddNetwork(spec)).unwrap();
        let own = model.network(id(number)).unwrap();
        let subnets: Vec<_> = own.subnets.iter().map(|own| own.subnet.to_string()).collect();
        assert_eq!(subnets, expected, "{name}");
        assert_eq!(own.ipv6, expected.iter().any(|text| text.contains(':')));
    }
}

#[test]
fn a_network_may_do_without_ipv4_or_without_addresses() {
    let mut model = model();
    let six = NetworkSpec { ipv4: false, ipv6: true, ..network(1, "six", &[]) };
    model.apply(Edit::AddNetwork(six)).unwrap();
    let own = model.network(id(1)).unwrap();
    assert_eq!((own.ipv4, own.ipv6, own.subnets.len()), (false, true, 1));

    let ipam = Ipam { driver: IpamDriver::Null, ..Ipam::default() };
    let bare = NetworkSpec { ipam, ..network(2, "bare", &[]) };
    model.apply(Edit::AddNetwork(bare)).unwrap();
    model.apply(Edit::AddEndpoint(endpoint(3, "web", "bare"))).unwrap();
    assert_eq!(model.network(id(2)).unwrap().subnets, []);
    let web = model.endpoint(id(3)).unwrap();
    assert!(web.mac.is_some() && web.addresses.is_empty(), "{web:?}");
}

#[test]
fn the_second_subnet_serves_when_the_first_is_full() {
    let mut model = model();
    let subnets = ["10.0.0.0/30", "10.0.1.0/30"];
    model.apply(Edit::AddNetwork(network(1, "tiny", &subnets))).unwrap();
    for (number, expected) in [(2, "10.0.0.2/30"), (3, "10.0.1.2/30")] {
        model.apply(Edit::AddEndpoint(endpoint(number, &format!("e{number}"), "tiny"))).unwrap();
        assert_eq!(addresses(&model, id(number)), [expected]);
    }
    let refusal = model.apply(Edit::AddEndpoint(endpoint(4, "e4", "tiny"))).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "network tiny: pool 10.0.1.0/30 has no free address (2 leased)"
    );
}

/// A network `blue` with an endpoint `web` at 10.0.0.7, and a printer at 10.0.0.9.
fn furnished() -> Model {
    let mut model = model();
    let mut blue = network(1, "blue", &["10.0.0.0/24"]);
    blue.subnets[0].aux.insert("printer".to_owned(), "10.0.0.9".parse().unwrap());
    model.apply(Edit::AddNetwork(blue)).unwrap();
    let web = EndpointSpec { ip: Some(Ipv4Addr::new(10, 0, 0, 7)), ..endpoint(2, "web", "blue") };
    model.apply(Edit::AddEndpoint(web)).unwrap();
    model
}

fn assert_refused(model: &mut Model, edit: &Edit, expected: &str) {
    let before = picture(model);
    let refusal = model.apply(edit.clone()).unwrap_err();
    assert!(refusal.to_string().starts_with(expected), "{refusal}");
    assert_eq!(picture(model), before, "{edit:?}");
    let has_help = !matches!(refusal, Refusal::IdTaken { .. } | Refusal::UnknownEndpoint { .. });
    assert_eq!(refusal.help().is_some(), has_help, "{refusal}");
}

#[test]
fn a_network_that_breaks_a_rule_is_refused_with_the_value_and_a_remedy() {
    let host = NetworkSpec { driver: Driver::Host, ..network(3, "shared", &["10.9.0.0/24"]) };
    let null = || Ipam { driver: IpamDriver::Null, ..Ipam::default() };
    let without_ipv4 = |subnets| NetworkSpec { ipv4: false, ..network(3, "red", subnets) };
    let cases = [
        (
            Edit::AddNetwork(NetworkSpec { ipam: null(), ..network(3, "red", &["10.9.0.0/24"]) }),
            "network red has IPAM driver null, which takes no subnets",
        ),
        (
            Edit::AddNetwork(without_ipv4(&["10.9.0.0/24"])),
            "network red is to have no IPv4, and subnet 10.9.0.0/24",
        ),
        (Edit::AddNetwork(without_ipv4(&[])), "network red is to have neither IPv4 nor IPv6"),
        (Edit::AddNetwork(network(3, "blue", &[])), "network blue exists already, with id "),
        (Edit::AddNetwork(network(3, "-x", &[])), "\"-x\" cannot name a network"),
        (Edit::AddNetwork(network(2, "red", &[])), "id "),
        (
            Edit::AddNetwork(network(3, "red", &["10.1.0.0/24", "10.0.0.128/25"])),
            "subnet 10.0.0.128/25 overlaps 10.0.0.0/24 of network blue",
        ),
        (
            Edit::AddNetwork(network(3, "red", &["10.1.0.0/24", "10.1.0.0/16"])),
            "subnet 10.1.0.0/16 overlaps 10.1.0.0/24 of network red",
        ),
        (Edit::AddNetwork(host), "network shared has driver host, which takes no subnets"),
        (Edit::RemoveNetwork("blue".to_owned()), "network blue is in use by web"),
        (Edit::RemoveNetwork("bleu".to_owned()), "unknown network \"bleu\""),
    ];
    let mut model = furnished();
    for (edit, expected) in cases {
        assert_refused(&mut model, &edit, expected);
    }
}

#[test]
fn an_endpoint_that_breaks_a_rule_is_refused_with_the_value_and_a_remedy() {
    let mut model = furnished();
    let at = |last| Some(Ipv4Addr::new(10, 0, 0, last));
    let other = || endpoint(3, "other", "blue");
    let group = "01:00:00:00:00:01".parse().unwrap();
    let gateway = model.network(id(1)).unwrap().gateway_mac();
    let held = model.endpoint(id(2)).unwrap().mac;
    let cases = [
        (Edit::RemoveEndpoint(id(3)), "unknown endpoint "),
        (Edit::AddEndpoint(endpoint(3, "web", "blue")), "network blue has an endpoint web already"),
        (
            Edit::AddEndpoint(EndpointSpec { ip: at(7), ..other() }),
            "address 10.0.0.7 in network blue is taken by endpoint web",
        ),
        (
            Edit::AddEndpoint(EndpointSpec { ip: at(1), ..other() }),
            "address 10.0.0.1 in network blue is taken by the gateway",
        ),
        (
            Edit::AddEndpoint(EndpointSpec { ip: at(9), ..other() }),
            "address 10.0.0.9 in network blue is taken by auxiliary address printer",
        ),
        (
            Edit::AddEndpoint(EndpointSpec { ip: at(255), ..other() }),
            "network blue: address 10.0.0.255 is the broadcast address of pool 10.0.0.0/24",
        ),
        (
            Edit::AddEndpoint(EndpointSpec { ip6: Some("fd00::1".parse().unwrap()), ..other() }),
            "address fd00::1 is outside network blue, which has 10.0.0.0/24",
        ),
        (Edit::AddEndpoint(EndpointSpec { mac: held, ..other() }), "MAC address "),
        (Edit::AddEndpoint(EndpointSpec { mac: Some(gateway), ..other() }), "MAC address "),
        (
            Edit::AddEndpoint(EndpointSpec { mac: Some(group), ..other() }),
            "01:00:00:00:00:01 cannot be the MAC address of one station",
        ),
        (
            Edit::AddEndpoint(EndpointSpec { ifname: Some("a/b".to_owned()), ..other() }),
            "\"a/b\" cannot name a network device",
        ),
        (
            Edit::AddEndpoint(EndpointSpec { aliases: vec!["a b".to_owned()], ..other() }),
            "\"a b\" cannot name an alias",
        ),
        (
            Edit::AddEndpoint(EndpointSpec { ip: at(3), ..endpoint(3, "e", "none") }),
            "network none has driver none, which takes no addresses",
        ),
    ];
    for (edit, expected) in cases {
        assert_refused(&mut model, &edit, expected);
    }
}

#[test]
fn a_parent_belongs_to_one_network_and_in_passthru_to_one_endpoint() {
    use weft_switch::UplinkMode;

    let on = |number: u8, name: &str, driver, options: &[(&str, &str)]| {
        let options = NetworkOptions::parse(options.iter().copied()).unwrap();
        let subnet = format!("10.{number}.0.0/24");
        let spec = network(number, name, &[&subnet]);
        Edit::AddNetwork(NetworkSpec { driver, options, ..spec })
    };
    let macvlan = |number, name, options| on(number, name, Driver::Macvlan, options);
    let mut model = model();
    model.apply(macvlan(1, "lan", &[("parent", "eth0"), ("mode", "passthru")])).unwrap();
    model.apply(macvlan(2, "tagged", &[("parent", "eth0.50")])).unwrap();
    model.apply(macvlan(3, "alone", &[])).unwrap();
    model.apply(macvlan(4, "apart", &[("mode", "private")])).unwrap();
    model.apply(Edit::AddEndpoint(endpoint(20, "web", "lan"))).unwrap();
    model.apply(Edit::AddEndpoint(endpoint(21, "web", "tagged"))).unwrap();
    let cases = [
        (
            macvlan(5, "again", &[("parent", "eth0")]),
            "network lan is already using parent interface eth0",
        ),
        (macvlan(5, "loop", &[("parent", "lo")]), "loopback interface is not a valid"),
        (
            on(5, "plain", Driver::Bridge, &[("parent", "eth1")]),
            "network plain has driver bridge, which takes no option parent",
        ),
        (
            on(5, "plain", Driver::Bridge, &[("macvlan_mode", "vepa")]),
            "network plain has driver bridge, which takes no option macvlan_mode",
        ),
        (
            Edit::AddEndpoint(endpoint(22, "db", "lan")),
            "network lan is in mode passthru, and web is its one endpoint",
        ),
    ];
    for (edit, expected) in cases {
        assert_refused(&mut model, &edit, expected);
    }
    // Whoever is the one endpoint has the parent's address, once somebody has looked.
    let mac = "02:00:00:00:00:77".parse().unwrap();
    let Edit::AddNetwork(mut spec) = macvlan(6, "seen", &[("parent", "eth2")]) else {
        unreachable!("it is one");
    };
    for (mode, name) in [(UplinkMode::Passthru, "seen"), (UplinkMode::Bridge, "seen-as-well")] {
        spec.options.uplink.mode = Some(mode);
        spec.options.uplink.mac = Some(mac);
        spec.name = name.to_owned();
        model.apply(Edit::AddNetwork(spec.clone())).unwrap();
        model.apply(Edit::AddEndpoint(endpoint(30, "one", name))).unwrap();
        let is_parents = model.endpoint(id(30)).unwrap().mac == Some(mac);
        assert_eq!(is_parents, mode == UplinkMode::Passthru, "{name}");
        model.apply(Edit::RemoveEndpoint(id(30))).unwrap();
        model.apply(Edit::RemoveNetwork(name.to_owned())).unwrap();
    }
    // Its way out is the router's, unless it is to have none.
    let endpoint = |network: u8| model.endpoints_of(id(network)).next().unwrap();
    let lan = model.network(id(1)).unwrap();
    assert_eq!(lan.routers(endpoint(1)), [IpAddr::from([10, 1, 0, 1])]);
    let internal = Network { internal: true, ..lan.clone() };
    assert_eq!(internal.routers(endpoint(1)), [] as [IpAddr; 0]);
}

#[test]
fn a_network_is_adjusted_while_it_runs() {
    let mut model = model();
    model.apply(Edit::AddNetwork(network(1, "blue", &[]))).unwrap();
    let options = LiveOptions { isolated: true, ..LiveOptions::default() };
    let update = NetworkUpdate { options, attachable: true, labels: BTreeMap::new() };
    let edit = Edit::UpdateNetwork { network: "blue".to_owned(), update };
    let was = NetworkUpdate::default();
    assert_eq!(model.apply(edit), Ok(Outcome::NetworkUpdated { id: id(1), was }));
    let blue = model.network(id(1)).unwrap();
    assert!(blue.options.live.isolated && blue.attachable);
}

#[test]
fn a_sandbox_knows_everybody_in_its_networks_by_all_their_names() {
    let mut model = model();
    model.apply(Edit::AddNetwork(network(1, "blue", &["10.0.0.0/24"]))).unwrap();
    model.apply(Edit::AddNetwork(network(2, "red", &["10.1.0.0/24"]))).unwrap();
    let web = EndpointSpec { aliases: vec!["www".to_owned()], ..endpoint(3, "web", "blue") };
    for spec in
        [web, endpoint(4, "db", "blue"), endpoint(5, "far", "red"), endpoint(6, "h", "host")]
    {
        model.apply(Edit::AddEndpoint(spec)).unwrap();
    }
    let host = |address: &str, names: &[&str]| {
        (address.parse::<IpAddr>().unwrap(), names.iter().map(|name| name.to_string()).collect())
    };
    let blue = vec![host("10.0.0.2", &["web", "www"]), host("10.0.0.3", &["db"])];
    assert_eq!(model.hosts_for(&[id(3)]), blue);
    assert_eq!(model.hosts_for(&[id(3), id(4)]), blue);
    assert_eq!(model.hosts_for(&[id(3), id(5)]).len(), 3);
    assert_eq!(model.hosts_for(&[id(6), id(99)]), []);
}

type Picture = (Vec<Network>, Vec<Endpoint>, Vec<(IpNetwork, IpAddr, Holder)>);

fn picture(model: &Model) -> Picture {
    let networks = model.networks().cloned().collect();
    (networks, model.endpoints().cloned().collect(), model.addresses.leases())
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let subnets = prop_oneof![
        Just(vec![]),
        (0_u8..4).prop_map(|third| vec![format!("10.0.{third}.0/29")]),
        (0_u8..4, 0_u8..4)
            .prop_map(|(a, b)| vec![format!("10.0.{a}.0/29"), format!("10.0.{b}.0/30")]),
        (0_u8..2).prop_map(|group| vec![format!("10.0.0.0/22"), format!("fd00:{group}::/126")]),
    ];
    let add_network = (0_u8..8, 0_u8..5, subnets).prop_map(|(number, name, subnets)| {
        let subnets: Vec<&str> = subnets.iter().map(String::as_str).collect();
        Edit::AddNetwork(network(number, &format!("n{name}"), &subnets))
    });
    let name = || {
        let made = (0_u8..5).prop_map(|name| format!("n{name}"));
        prop_oneof![4 => made, 1 => Just("bridge".to_owned()), 1 => Just("host".to_owned())]
    };
    let ip = prop::option::weighted(0.3, (0_u8..4, 0_u8..9));
    let mac = prop::option::weighted(0.2, 0_u8..4);
    let add_endpoint =
        (8_u8..40, 0_u8..6, name(), ip, mac).prop_map(|(number, own, name, ip, mac)| {
            Edit::AddEndpoint(EndpointSpec {
                ip: ip.map(|(third, last)| Ipv4Addr::new(10, 0, third, last)),
                mac: mac.map(|last| MacAddr([2, 0, 0, 0, 0, last])),
                ..endpoint(number, &format!("e{own}"), &name)
            })
        });
    let update_network = (name(), any::<bool>()).prop_map(|(network, isolated)| {
        let options = LiveOptions { isolated, ..LiveOptions::default() };
        let update = NetworkUpdate { options, ..NetworkUpdate::default() };
        Edit::UpdateNetwork { network, update }
    });
    prop_oneof![
        2 => add_network,
        1 => update_network,
        1 => name().prop_map(Edit::RemoveNetwork),
        6 => add_endpoint,
        3 => (8_u8..40).prop_map(|number| Edit::RemoveEndpoint(id(number))),
    ]
}

/// Whether the rules allow an edit, worked out the slow way from what can be seen.
fn is_allowed(model: &Model, edit: &Edit) -> bool {
    let named = |name: &str| model.networks().find(|own| own.name == name);
    let subnets = || model.networks().flat_map(|own| &own.subnets);
    let id_is_free = |id: Id| model.network(id).is_none() && model.endpoint(id).is_none();
    match edit {
        Edit::AddNetwork(spec) => {
            let mut all: Vec<IpNetwork> = subnets().map(|own| own.subnet).collect();
            let apart = spec.subnets.iter().filter_map(|own| own.subnet).all(|new| {
                let apart =
                    all.iter().all(|old| !old.contains(new.ip()) && !new.contains(old.ip()));
                all.push(new);
                apart
            });
            named(&spec.name).is_none() && id_is_free(spec.id) && apart
        }
        Edit::RemoveNetwork(name) => named(name).is_some_and(|own| {
            own.origin != Origin::BuiltIn && model.endpoints().all(|end| end.network != own.id)
        }),
        Edit::UpdateNetwork { network, .. } => named(network).is_some(),
        Edit::AddEndpoint(spec) => named(&spec.network).is_some_and(|own| {
            let inside = || model.endpoints().filter(|end| end.network == own.id);
            let name_is_free = inside().all(|end| end.name != spec.name);
            let mac_is_free = spec.mac.is_none_or(|mac| inside().all(|end| end.mac != Some(mac)));
            let plain = spec.ip.is_none() && spec.mac.is_none();
            name_is_free
                && mac_is_free
                && id_is_free(spec.id)
                && (own.driver.is_switched() || plain)
                && (!own.driver.is_switched() || has_room(model, own, spec))
        }),
        Edit::RemoveEndpoint(id) => model.endpoint(*id).is_some(),
    }
}

fn has_room(model: &Model, network: &Network, spec: &EndpointSpec) -> bool {
    if network.subnets.is_empty() {
        // `bridge` before its first endpoint: its subnet will be one of Docker's, not in 10/8.
        return spec.ip.is_none();
    }
    let is_free = |subnet: &Subnet, address: IpAddr| {
        let held = |end: &Endpoint| end.addresses.iter().any(|own| own.ip() == address);
        let is_edge = subnet.subnet.network() == address
            || (address.is_ipv4() && subnet.subnet.broadcast() == address);
        !is_edge && subnet.gateway != Some(address) && !model.endpoints().any(held)
    };
    let family_has_room = |is_ipv6: bool, wanted: Option<IpAddr>| {
        let of_family = || network.subnets.iter().filter(|own| own.subnet.is_ipv6() == is_ipv6);
        match wanted {
            Some(address) => network.subnet_of(address).is_some_and(|own| is_free(own, address)),
            None => {
                // More than 64 endpoints never exist here, so looking at the first 64 is enough.
                let mut all = of_family();
                of_family().next().is_none()
                    || all.any(|own| own.subnet.iter().take(64).any(|at| is_free(own, at)))
            }
        }
    };
    family_has_room(false, spec.ip.map(IpAddr::V4)) && family_has_room(true, None)
}

/// What must be true of every model.
fn check_rules(model: &Model) {
    let mut expected = Vec::new();
    for network in model.networks() {
        let mut macs = vec![network.gateway_mac()];
        for subnet in &network.subnets {
            expected.extend(subnet.gateway.map(|at| (subnet.subnet, at, Holder::Gateway)));
        }
        for endpoint in model.endpoints_of(network.id) {
            assert_eq!(endpoint.network, network.id);
            assert_eq!(endpoint.mac.is_some(), network.driver.is_switched());
            macs.extend(endpoint.mac);
            let holder = Holder::Endpoint(weft_ipam::EndpointId(*endpoint.id.octets()));
            for address in &endpoint.addresses {
                let subnet = network.subnet_of(address.ip()).unwrap();
                assert_eq!(address.prefix(), subnet.subnet.prefix());
                expected.push((subnet.subnet, address.ip(), holder.clone()));
            }
        }
        let count = macs.len();
        macs.sort_unstable();
        macs.dedup();
        assert_eq!(macs.len(), count, "every station has an address of its own");
    }
    expected.sort_by_key(|(_, address, _)| *address);
    let mut leases = model.addresses.leases();
    leases.sort_by_key(|(_, address, _)| *address);
    assert_eq!(leases, expected, "what is leased is what endpoints and gateways have");
}

proptest! {
    #[test]
    fn an_edit_keeps_every_rule_or_changes_nothing(
        edits in prop::collection::vec(any_edit(), 1..80)
    ) {
        let mut model = model();
        for edit in edits {
            let before = picture(&model);
            let allowed = is_allowed(&model, &edit);
            let outcome = model.apply(edit.clone());
            prop_assert_eq!(outcome.is_ok(), allowed, "{:?}: {:?}", edit, outcome);
            if outcome.is_err() {
                prop_assert_eq!(picture(&model), before);
            }
            check_rules(&model);
        }
    }
}

proptest! {
    #[test]
    fn what_is_not_settled_can_be_rolled_back_and_what_is_can_be_restored(
        rounds in prop::collection::vec((prop::collection::vec(any_edit(), 1..12), any::<bool>()), 1..12)
    ) {
        let mut model = model();
        for (edits, settles) in rounds {
            let before = picture(&model);
            for edit in edits {
                // Those that are refused change nothing, and belong to the game.
                let _ = model.apply(edit);
            }
            if settles {
                model.settle();
            } else {
                model.roll_back();
                prop_assert_eq!(picture(&model), before);
            }
            prop_assert_eq!(model.changes().count(), 0);
            check_rules(&model);
        }
        let (networks, endpoints, leases) = picture(&model);
        let mut again = Model::empty(DefaultPools::docker(), Vec::new());
        for network in networks.iter().cloned() {
            again.restore_network(network).unwrap();
        }
        for endpoint in endpoints.iter().cloned() {
            again.restore_endpoint(endpoint).unwrap();
        }
        prop_assert_eq!(picture(&again), (networks, endpoints, leases));
    }
}

#[test]
fn what_contradicts_what_is_there_cannot_be_restored() {
    let mut model = model();
    model.apply(Edit::AddNetwork(network(1, "blue", &["10.0.0.0/24"]))).unwrap();
    model.apply(Edit::AddEndpoint(endpoint(2, "web", "blue"))).unwrap();
    model.settle();
    let before = picture(&model);
    let blue = model.network(id(1)).unwrap().clone();
    let web = model.endpoint(id(2)).unwrap().clone();
    let networks = [
        Network { id: id(9), ..blue.clone() },
        Network { name: "red".to_owned(), ..blue.clone() },
        Network { id: id(9), name: "red".to_owned(), ..blue },
    ];
    for network in networks {
        assert!(model.restore_network(network.clone()).is_err(), "{network:?}");
    }
    let endpoints = [
        Endpoint { id: id(9), ..web.clone() },
        Endpoint { name: "db".to_owned(), ..web.clone() },
        Endpoint { id: id(9), name: "db".to_owned(), ..web.clone() },
        Endpoint { id: id(9), name: "db".to_owned(), mac: None, ..web.clone() },
        Endpoint { id: id(9), name: "db".to_owned(), network: id(8), ..web },
    ];
    for endpoint in endpoints {
        assert!(model.restore_endpoint(endpoint.clone()).is_err(), "{endpoint:?}");
    }
    assert_eq!(picture(&model), before);
    assert_eq!(model.changes().count(), 0);
}

#[test]
fn the_beginning_of_an_id_finds_its_network() {
    let mut model = model();
    for number in 1..=40 {
        let spec =
            NetworkSpec { driver: Driver::None, ..network(number, &format!("n{number}"), &[]) };
        model.apply(Edit::AddNetwork(spec)).unwrap();
    }
    let texts: Vec<String> = model.networks().map(|own| own.id.to_string()).collect();
    for text in &texts {
        for len in 1..=64 {
            let reference = &text[..len];
            let meant = texts.iter().filter(|other| other.starts_with(reference)).count();
            assert_eq!(model.resolve(reference).is_ok(), meant == 1, "{reference}");
        }
    }
    for reference in ["", "zz", &"0".repeat(65), &texts[0].to_uppercase()[..63]] {
        assert!(model.resolve(reference).is_err(), "{reference}");
    }
}

#[test]
fn bridge_takes_the_subnet_that_who_comes_back_had_before() {
    let mut model = model();
    let back =
        EndpointSpec { ip: Some("172.19.0.7".parse().unwrap()), ..endpoint(7, "ann", "bridge") };
    model.apply(Edit::AddEndpoint(back)).unwrap();
    let bridge = model.resolve("bridge").unwrap();
    assert_eq!(bridge.subnets[0].subnet.to_string(), "172.19.0.0/16");
}
