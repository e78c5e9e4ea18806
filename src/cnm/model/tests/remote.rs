//! Networks whose addresses somebody else gives: what is recorded, and what goes back.

use std::net::IpAddr;

use super::*;
use crate::cnm::ipam::{Given, Returned};

fn remote() -> Ipam {
    Ipam { driver: IpamDriver::Remote("other".to_owned()), ..Ipam::default() }
}

/// Network 1, with what its driver gave.
fn given() -> NetworkSpec {
    let mut spec = NetworkSpec { ipam: remote(), ..network(1, "blue", &["10.0.0.0/24"]) };
    spec.subnets[0].gateway = Some(at(9));
    spec.subnets[0].aux.insert("printer".to_owned(), at(7));
    spec.subnets[0].pool = Some("p".to_owned());
    spec
}

fn at(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn address(last: u8) -> Given {
    Given::Address { pool: "p".to_owned(), address: at(last) }
}

fn pool() -> Given {
    Given::Pool { pool: "p".to_owned() }
}

fn web() -> EndpointSpec {
    EndpointSpec { ip: Some(Ipv4Addr::new(10, 0, 0, 5)), ..endpoint(2, "web", "blue") }
}

#[test]
fn nothing_is_chosen_in_the_place_of_a_remote_driver() {
    let mut model = model();
    let without = NetworkSpec { ipam: remote(), ..network(1, "blue", &["10.0.0.0/24"]) };
    assert_eq!(model.check_network(&without), Ok(()));
    let refusal = model.apply(Edit::AddNetwork(without)).unwrap_err();
    let text = "network blue has IPAM driver other, which has not given a pool";
    assert_eq!(refusal.to_string(), text);
    model.apply(Edit::AddNetwork(given())).unwrap();
    let refusal = model.apply(Edit::AddEndpoint(endpoint(2, "web", "blue"))).unwrap_err();
    let text = "network blue has IPAM driver other, which has not given an address";
    assert_eq!(refusal.to_string(), text);
    model.apply(Edit::AddEndpoint(web())).unwrap();
    assert_eq!(addresses(&model, id(2)), ["10.0.0.5/24"]);
    // What it gives twice is refused.
    for last in [5, 7, 9] {
        let ip = Some(Ipv4Addr::new(10, 0, 0, last));
        let twice = EndpointSpec { ip, ..endpoint(3, "db", "blue") };
        let refusal = model.apply(Edit::AddEndpoint(twice)).unwrap_err();
        assert!(matches!(refusal, Refusal::AddressTaken { .. }), "{refusal}");
    }
}

#[test]
fn what_goes_back_is_what_is_gone() {
    let mut model = model();
    let returned = |number, given| (id(number), Returned { driver: "other".to_owned(), given });
    model.apply(Edit::AddNetwork(given())).unwrap();
    model.apply(Edit::AddEndpoint(web())).unwrap();
    assert_eq!(model.returns(), []);
    model.settle();
    for held in [address(5), address(7), address(9), pool()] {
        assert!(model.has("other", &held), "{held:?}");
        assert!(!model.has("another", &held), "{held:?}");
    }
    assert!(!model.has("other", &address(6)));

    model.apply(Edit::RemoveEndpoint(id(2))).unwrap();
    assert_eq!(model.returns(), [returned(2, vec![address(5)])]);
    // With the network it goes first, and the pool last.
    model.apply(Edit::RemoveNetwork("blue".to_owned())).unwrap();
    let network = returned(1, vec![address(9), address(7), pool()]);
    assert_eq!(model.returns(), [returned(2, vec![address(5)]), network.clone()]);
    // Nothing of what came and went meanwhile, or was taken back.
    model.roll_back();
    assert_eq!(model.returns(), []);
    assert_eq!(addresses(&model, id(2)), ["10.0.0.5/24"]);
    model.apply(Edit::RemoveEndpoint(id(2))).unwrap();
    model.apply(Edit::AddEndpoint(web())).unwrap();
    assert_eq!(model.returns(), []);

    model.rename_pool(id(1), "10.0.0.0/24".parse().unwrap(), "q".to_owned());
    model.settle();
    assert!(
        model.has("other", &Given::Pool { pool: "q".to_owned() }) && !model.has("other", &pool())
    );
}
