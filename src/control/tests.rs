//! Sandboxes come and go, and files are declared, without a life line or a device.

use tokio::sync::mpsc;

use super::*;
use crate::api::shapes::{AttachRequest, EndpointRequest, FromAppliance};
use crate::cnm::network::SubnetSpec;
use crate::cnm::{DeclaredNetwork, Network};
use crate::control::failure::Rejected;
use crate::store::Memory;

type Outbox = mpsc::Receiver<FromAppliance>;

async fn control() -> Control {
    let settings = Settings {
        name: "test".to_owned(),
        socket: "/nowhere/weft.sock".into(),
        file: None,
        state: None,
        on_demand: false,
        workers: 1,
        default_pools: DefaultPools::docker(),
        plugin_dirs: Vec::new(),
    };
    Control::open(settings, Arc::new(Memory::default())).await.unwrap()
}

fn request(networks: &[&str]) -> AttachRequest {
    let endpoint = |network: &&str| {
        let mut parts = network.split(',');
        EndpointRequest {
            network: parts.next().unwrap().to_owned(),
            ifname: parts.next().map(str::to_owned),
            ..EndpointRequest::default()
        }
    };
    AttachRequest {
        sandbox: None,
        name: None,
        kind: crate::api::shapes::Kind::Run,
        pid: 1,
        command: vec!["sh".to_owned()],
        endpoints: networks.iter().map(endpoint).collect(),
        declared: false,
    }
}

fn named(name: &str) -> AttachRequest {
    AttachRequest { name: Some(name.to_owned()), ..request(&["bridge"]) }
}

async fn admit(control: &Control, request: &AttachRequest) -> Result<(Id, Outbox), Rejected> {
    let (outbox, waiting) = mpsc::channel(1);
    control.admit(request.clone(), outbox).await.map(|(id, ..)| (id, waiting))
}

fn hosts(control: &Control, sandbox: Id) -> String {
    let message = control.hosts(sandbox, &mut hosts::Edition::default()).unwrap();
    String::from_utf8(message.to_vec()).unwrap()
}

fn names(control: &Control) -> Vec<String> {
    control.sandboxes().into_iter().map(|line| line.name).collect()
}

fn networks(networks: &[(&str, &str)]) -> Declared {
    let network = |subnet: &str| DeclaredNetwork {
        subnets: vec![SubnetSpec { subnet: subnet.parse().ok(), ..SubnetSpec::default() }],
        ..DeclaredNetwork::default()
    };
    let networks = networks.iter().map(|(name, subnet)| ((*name).to_owned(), network(subnet)));
    Declared { networks: networks.collect(), ..Declared::default() }
}

#[tokio::test]
async fn the_id_of_a_sandbox_that_is_here_is_refused_to_another() {
    let control = control().await;
    let (id, ann) = admit(&control, &named("ann")).await.unwrap();
    let again = AttachRequest { sandbox: Some(id), ..named("eve") };
    assert_eq!(admit(&control, &again).await.unwrap_err().status, 409);
    assert_eq!(names(&control), ["ann"]);
    assert_eq!(control.status().endpoints, 1);
    // Back as soon as its old life line has ended.
    drop(ann);
    control.dismiss(id).await;
    let back = AttachRequest { sandbox: Some(id), ..named("ann") };
    let (same, _ann) = admit(&control, &back).await.unwrap();
    assert_eq!(same, id);
    // A late end of the old one is no end of the new one.
    control.dismiss(id).await;
    assert_eq!(names(&control), ["ann"]);
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_taken_in_leaves_nothing() {
    let control = control().await;
    let (_, _ann) = admit(&control, &named("ann")).await.unwrap();
    let declared = |networks: &[&str]| AttachRequest { declared: true, ..request(networks) };
    let cases = [
        (400, request(&[]), "one network at least"),
        (400, AttachRequest { endpoints: Vec::new(), ..named("bob") }, "one network at least"),
        (400, named(&"x".repeat(900_000)), "cannot name a sandbox"),
        (400, named("\u{1b}[2J"), "cannot name a sandbox"),
        (409, named("ann"), "is taken"),
        (400, request(&["bridge"; 33]), "at most 32 networks"),
        (400, request(&["bridge,a", "none,a"]), "\"a\""),
        (400, declared(&["bridge", "none"]), "on one network"),
        (409, AttachRequest { declared: true, ..named("web") }, "declares no endpoint web"),
        (404, request(&["bridge", "mauve"]), "mauve"),
        (400, request(&["bridge", "none"]), "combined"),
    ];
    for (status, request, words) in cases {
        let rejected = admit(&control, &request).await.unwrap_err();
        let message = rejected.failure.message;
        assert!(rejected.status == status && message.contains(words), "{status} {message}");
        assert!(message.len() < 500, "{message}");
        assert_eq!((names(&control).len(), control.status().endpoints), (1, 1), "{message}");
    }
}

#[tokio::test]
async fn interfaces_without_a_name_are_called_what_is_free() {
    let control = control().await;
    control
        .declare(networks(&[("blue", "10.201.0.0/24"), ("green", "10.202.0.0/24")]))
        .await
        .unwrap();
    let (id, _sh) = admit(&control, &request(&["bridge", "blue,eth0", "green"])).await.unwrap();
    let line = control.find(&id.to_string()).unwrap().0;
    let names: Vec<&str> = line.endpoints.iter().map(|e| &*e.ifname).collect();
    assert_eq!(names, ["eth1", "eth0", "eth2"]);
}

#[tokio::test]
async fn the_first_hosts_file_has_the_newcomer_in_it() {
    let control = control().await;
    let mut kept = Vec::new();
    for name in ["ann", "bob"] {
        let (id, outbox) = admit(&control, &named(name)).await.unwrap();
        let hosts = hosts(&control, id);
        assert!(hosts.contains(&format!("\\t{name}\\n")), "{hosts}");
        kept.push((id, outbox));
    }
    let (bob, outbox) = kept.remove(1);
    drop(outbox);
    control.dismiss(bob).await;
    let hosts = hosts(&control, kept[0].0);
    assert!(hosts.contains("ann") && !hosts.contains("bob"), "{hosts}");
}

#[tokio::test]
async fn a_refused_file_changes_nothing() {
    let control = control().await;
    let before = networks(&[("blue", "10.201.0.0/24"), ("red", "10.203.0.0/24")]);
    control.declare(before.clone()).await.unwrap();
    let ids = || {
        let state = control.state();
        state.model.networks().map(|network| (network.name.clone(), network.id)).collect::<Vec<_>>()
    };
    let was = ids();
    // Red would go and blue would be made anew before the two that overlap are found.
    let overlapping =
        networks(&[("blue", "10.204.0.0/24"), ("x", "10.202.0.0/24"), ("y", "10.202.0.0/16")]);
    assert_eq!(control.declare(overlapping.clone()).await.unwrap_err().status, 409);
    assert_eq!(ids(), was);
    assert_eq!(control.state().declared, before);
    assert_eq!(control.declare(before.clone()).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn nothing_begins_once_the_end_has() {
    let control = control().await;
    let (id, ann) = admit(&control, &named("ann")).await.unwrap();
    let ends = tokio::spawn({
        let control = control.clone();
        async move { control.wind_down(false).await }
    });
    while !control.state().ending {
        tokio::task::yield_now().await;
    }
    assert_eq!(admit(&control, &named("bob")).await.unwrap_err().status, 503);
    assert_eq!(control.declare(Declared::default()).await.unwrap_err().status, 503);
    drop(ann);
    control.dismiss(id).await;
    let first = ends.await.unwrap();
    assert_eq!((first.stopped, first.kept), (vec!["ann".to_owned()], Vec::new()));
    assert_eq!(control.wind_down(true).await.stopped, ["ann"]);
}

/// An appliance after this one, on the same store.
async fn next(control: &Control) -> Control {
    let store = Arc::clone(&control.shared.store);
    let Settings { name, socket, .. } = control.settings();
    let settings = Settings {
        name: name.clone(),
        socket: socket.clone(),
        file: None,
        state: None,
        on_demand: false,
        workers: 1,
        default_pools: DefaultPools::docker(),
        plugin_dirs: Vec::new(),
    };
    Control::open(settings, store).await.unwrap()
}

#[derive(Debug, PartialEq)]
struct Kept {
    networks: Vec<Network>,
    endpoints: Vec<crate::cnm::Endpoint>,
    declared: Declared,
}

fn kept(control: &Control) -> Kept {
    let state = control.state();
    Kept {
        networks: state.model.networks().cloned().collect(),
        endpoints: state.model.endpoints().cloned().collect(),
        declared: state.declared.clone(),
    }
}

#[tokio::test]
async fn the_next_appliance_has_what_this_one_was_told() {
    let first = control().await;
    let declared = networks(&[("blue", "10.201.0.0/24"), ("red", "10.203.0.0/24")]);
    first.declare(declared.clone()).await.unwrap();
    let (ann, _ann) = admit(&first, &named("ann")).await.unwrap();
    let (bob, outbox) = admit(&first, &request(&["blue"])).await.unwrap();
    let second = next(&first).await;
    assert_eq!(kept(&second), kept(&first));
    // What the file says is still what it said.
    assert_eq!(second.declare(declared).await.unwrap(), [""; 0]);
    // A name and addresses are kept for who may come back, and for nobody else.
    assert_eq!(admit(&second, &named("ann")).await.unwrap_err().status, 409);
    let had = first.find(&ann.to_string()).unwrap().0;
    let back = EndpointRequest {
        id: Some(had.endpoints[0].id),
        network: "bridge".to_owned(),
        ..EndpointRequest::default()
    };
    let back = AttachRequest { sandbox: Some(ann), endpoints: vec![back], ..named("ann") };
    let (_, _ann_again) = admit(&second, &back).await.unwrap();
    let has = second.find(&ann.to_string()).unwrap().0;
    assert_eq!(has.endpoints, had.endpoints);
    // Who has not come back is given up; then its place is free.
    assert!(second.is_awaiting());
    second.give_up().await;
    assert_eq!((second.is_awaiting(), second.status().endpoints), (false, 1));
    assert_eq!(first.status().endpoints, 2);
    drop(outbox);
    first.dismiss(bob).await;
    second.flush().await;
    let third = next(&second).await;
    assert_eq!(kept(&third), kept(&second));
}

#[tokio::test]
async fn what_cannot_be_kept_does_not_happen() {
    let control = control().await;
    let (ann, outbox) = admit(&control, &named("ann")).await.unwrap();
    control.flush().await;
    let before = kept(&control);
    control.shared.store.close().await.unwrap();
    assert_eq!(admit(&control, &named("bob")).await.unwrap_err().status, 500);
    let declared = networks(&[("blue", "10.201.0.0/24")]);
    assert_eq!(control.declare(declared).await.unwrap_err().status, 500);
    assert_eq!(kept(&control), before);
    assert_eq!(names(&control), ["ann"]);
    // An end is an end, whether or not it can be written down.
    drop(outbox);
    control.dismiss(ann).await;
    assert_eq!(control.status().endpoints, 0);
    control.flush().await;
    assert!(control.is_owing());
}
