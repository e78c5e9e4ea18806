//! Sandboxes come and go, and files are declared, without a life line or a device.

use tokio::sync::mpsc;

use super::*;
use crate::api::shapes::{AttachRequest, EndpointRequest, FromAppliance};
use crate::cnm::DeclaredNetwork;
use crate::cnm::network::SubnetSpec;
use crate::control::failure::Rejected;

type Outbox = mpsc::Receiver<FromAppliance>;

fn control() -> Control {
    let settings = Settings {
        name: "test".to_owned(),
        socket: "/nowhere/weft.sock".into(),
        file: None,
        on_demand: false,
        workers: 1,
        default_pools: DefaultPools::docker(),
    };
    Control::new(settings).unwrap()
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

fn admit(control: &Control, request: &AttachRequest) -> Result<(Id, Outbox), Rejected> {
    let (outbox, waiting) = mpsc::channel(1);
    control.admit(request, outbox).map(|(id, ..)| (id, waiting))
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

#[test]
fn the_id_of_a_sandbox_that_is_here_is_refused_to_another() {
    let control = control();
    let (id, ann) = admit(&control, &named("ann")).unwrap();
    let again = AttachRequest { sandbox: Some(id), ..named("eve") };
    assert_eq!(admit(&control, &again).unwrap_err().status, 409);
    assert_eq!(names(&control), ["ann"]);
    assert_eq!(control.status().endpoints, 1);
    // Back as soon as its old life line has ended.
    drop(ann);
    control.dismiss(id);
    let back = AttachRequest { sandbox: Some(id), ..named("ann") };
    let (same, _ann) = admit(&control, &back).unwrap();
    assert_eq!(same, id);
    // A late end of the old one is no end of the new one.
    control.dismiss(id);
    assert_eq!(names(&control), ["ann"]);
}

#[test]
fn a_sandbox_that_cannot_be_taken_in_leaves_nothing() {
    let control = control();
    let (_, _ann) = admit(&control, &named("ann")).unwrap();
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
        let rejected = admit(&control, &request).unwrap_err();
        let message = rejected.failure.message;
        assert!(rejected.status == status && message.contains(words), "{status} {message}");
        assert!(message.len() < 500, "{message}");
        assert_eq!((names(&control).len(), control.status().endpoints), (1, 1), "{message}");
    }
}

#[test]
fn interfaces_without_a_name_are_called_what_is_free() {
    let control = control();
    control.declare(&networks(&[("blue", "10.201.0.0/24"), ("green", "10.202.0.0/24")])).unwrap();
    let (id, _sh) = admit(&control, &request(&["bridge", "blue,eth0", "green"])).unwrap();
    let line = control.find(&id.to_string()).unwrap().0;
    let names: Vec<&str> = line.endpoints.iter().map(|e| &*e.ifname).collect();
    assert_eq!(names, ["eth1", "eth0", "eth2"]);
}

#[test]
fn the_first_hosts_file_has_the_newcomer_in_it() {
    let control = control();
    let mut kept = Vec::new();
    for name in ["ann", "bob"] {
        let (id, outbox) = admit(&control, &named(name)).unwrap();
        let hosts = String::from_utf8(control.hosts(id).to_vec()).unwrap();
        assert!(hosts.contains(&format!("\\t{name}\\n")), "{hosts}");
        kept.push((id, outbox));
    }
    let (bob, outbox) = kept.remove(1);
    drop(outbox);
    control.dismiss(bob);
    let hosts = String::from_utf8(control.hosts(kept[0].0).to_vec()).unwrap();
    assert!(hosts.contains("ann") && !hosts.contains("bob"), "{hosts}");
}

#[test]
fn a_refused_file_changes_nothing() {
    let control = control();
    let before = networks(&[("blue", "10.201.0.0/24"), ("red", "10.203.0.0/24")]);
    control.declare(&before).unwrap();
    let ids = || {
        let state = control.state();
        state.model.networks().map(|network| (network.name.clone(), network.id)).collect::<Vec<_>>()
    };
    let was = ids();
    // Red would go and blue would be made anew before the two that overlap are found.
    let overlapping =
        networks(&[("blue", "10.204.0.0/24"), ("x", "10.202.0.0/24"), ("y", "10.202.0.0/16")]);
    assert_eq!(control.declare(&overlapping).unwrap_err().status, 409);
    assert_eq!(ids(), was);
    assert_eq!(control.state().declared, before);
    assert_eq!(control.declare(&before).unwrap(), [""; 0]);
}

#[tokio::test]
async fn nothing_begins_once_the_end_has() {
    let control = control();
    let (id, ann) = admit(&control, &named("ann")).unwrap();
    let ends = tokio::spawn({
        let control = control.clone();
        async move { control.wind_down(false).await }
    });
    while !control.state().ending {
        tokio::task::yield_now().await;
    }
    assert_eq!(admit(&control, &named("bob")).unwrap_err().status, 503);
    assert_eq!(control.declare(&Declared::default()).unwrap_err().status, 503);
    drop(ann);
    control.dismiss(id);
    let first = ends.await.unwrap();
    assert_eq!((first.stopped, first.kept), (vec!["ann".to_owned()], Vec::new()));
    assert_eq!(control.wind_down(true).await.stopped, ["ann"]);
}
