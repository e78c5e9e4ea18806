//! Appliances one after the other, and two at once.

use std::path::Path;

use rustix::process::Signal;

use super::state::{appliance, edit, inspect, members, networks};
use crate::support::{Program, World, eventually};

as_both!(
    a_state_is_one_appliance_s_at_a_time,
    every_socket_has_a_state_of_its_own,
    the_next_one_may_come_at_once,
    after_a_reboot_nobody_is_awaited,
    whoever_died_with_its_appliance_is_awaited_and_given_up,
    what_the_file_declares_keeps_its_ids_and_addresses,
    a_file_without_a_network_is_no_reason_not_to_start,
    a_file_that_wants_what_was_made_by_hand_is_refused,
);

/// A line for a second appliance, at a socket of its own.
fn at(socket: &Path, line: &str) -> String {
    format!("{line} --socket {}", socket.display())
}

fn a_state_is_one_appliance_s_at_a_time(world: &World) {
    let state = world.path("state");
    let line = format!("up --state {}", state.display());
    let up = world.up_as(&line);
    world.weft("network create red").ok();
    let red = inspect(world, "red");
    let other = world.path("other/weft.sock");
    let place = state.display().to_string();
    let process = format!("in use by process {}", up.pid());
    for verb in [&*line, &format!("{line} --detach")] {
        world.weft(&at(&other, verb)).refused(1, &[&place, &process], "weft down");
    }
    // Also whoever would start one on the way.
    let mut run = world.weft_command(&at(&other, "run"));
    run.args(["--", "true"]).env("WEFT_STATE", &state);
    Program::start(run).end().refused(1, &[&place, &process], "weft down");
    assert!(!other.exists());
    // A lock ends with its process, however that ends.
    up.kill();
    let _up = world.up_as(&line);
    assert_eq!(inspect(world, "red"), red);
}

fn every_socket_has_a_state_of_its_own(world: &World) {
    let other = world.path("other/weft.sock");
    let custom = |line: &str| {
        let line = format!("network ls -f type=custom --format {{{{.Name}}}} {line}");
        world.weft(&line).ok()
    };
    for _ in 0..2 {
        let _up = world.up();
        world.weft(&at(&other, "up --detach")).ok();
        // The second time they are there already.
        if custom("").is_empty() {
            world.weft("network create here").ok();
            world.weft(&at(&other, "network create there")).ok();
        }
        assert_eq!((&*custom(""), &*custom(&at(&other, ""))), ("here\n", "there\n"));
        world.weft(&at(&other, "down")).ok();
    }
}

fn the_next_one_may_come_at_once(world: &World) {
    let mut up = world.up();
    let mut expected = vec!["bridge".to_owned(), "host".to_owned(), "none".to_owned()];
    let mut all = networks(world);
    for number in 0..20 {
        let name = format!("n{number}");
        world.weft(&format!("network create {name}")).ok();
        expected.push(name);
        let keep = number % 4 == 1;
        let ann = (number % 2 == 1).then(|| world.sandbox("ann", "--network n0"));
        let before = ann.is_some().then(|| world.endpoint("ann"));
        all.insert(format!("n{number}"), networks(world)[&format!("n{number}")].clone());
        world.weft(if keep { "down --keep" } else { "down" }).ok();
        let next = world.start("up");
        let next = world.answering(next);
        assert_eq!(std::mem::replace(&mut up, next).into_program().end().code, 0);
        assert_eq!(networks(world), all, "after {number}");
        if let (true, Some(ann)) = (keep, ann) {
            assert_eq!(Some(world.endpoint("ann")), before);
            world.weft("stop ann").ok();
            assert_eq!(ann.end().code, 143);
        }
        assert_eq!(members(world, "n0"), [], "after {number}");
    }
    assert_eq!(all.len(), expected.len());
}

fn after_a_reboot_nobody_is_awaited(world: &World) {
    let up = world.up();
    world.weft("network create --subnet 10.205.0.0/24 red").ok();
    let ann = world.sandbox("ann", "--network red,ip=10.205.0.9");
    up.kill();
    ann.signal(Signal::KILL);
    ann.end();
    edit(world, &world.state(), appliance(1, "another boot"));
    let up = world.up();
    assert_eq!(members(world, "red"), []);
    world.weft("run --name ann --network red,ip=10.205.0.9 -- true").ok();
    // It is this boot's from now on.
    let _ann = world.sandbox("ann", "--network red,ip=10.205.0.9");
    up.kill();
    let _up = world.up();
    assert_eq!(members(world, "red"), [("ann".to_owned(), "10.205.0.9/24".to_owned())]);
}

fn whoever_died_with_its_appliance_is_awaited_and_given_up(world: &World) {
    let up = world.up();
    world.weft("network create --subnet 10.205.0.0/24 red").ok();
    let ann = world.sandbox("ann", "--network red,ip=10.205.0.9");
    up.kill();
    ann.signal(Signal::KILL);
    ann.end();
    let _up = world.up();
    // It might have come back.
    assert_eq!(members(world, "red"), [("ann".to_owned(), "10.205.0.9/24".to_owned())]);
    let run = |options: &str| world.weft(&format!("run --network red{options} -- true"));
    run(" --name ann").refused(1, &["the name ann is kept for a sandbox"], "wait");
    run(",ip=10.205.0.9").refused(1, &["10.205.0.9", "taken by", "ann"], "another");
    world.weft("network rm red").refused(1, &["red", "ann"], "endpoints");
    assert_eq!(world.names(), [""; 0]);
    eventually("ann is given up", || members(world, "red").is_empty().then_some(()));
    run(",ip=10.205.0.9 --name ann").ok();
    world.weft("network rm red").ok();
}

const FILE: &str = "
    [networks.blue]
    [networks.green]
    subnets = [\"10.207.0.0/24\"]

    [endpoints.web]
    network = \"blue\"
    command = [\"sleep\", \"infinity\"]
";

fn what_the_file_declares_keeps_its_ids_and_addresses(world: &World) {
    let up = world.up_with(FILE);
    let web = world.endpoint("web");
    let ids = || {
        let all = networks(world);
        ["blue", "green"].map(|name| all[name].clone())
    };
    let before = ids();
    world.weft("down").ok();
    drop(up);
    let up = world.up_with(FILE);
    assert_eq!((ids(), world.endpoint("web")), (before.clone(), web.clone()));
    up.kill();
    let up = world.up_with(FILE);
    assert_eq!((ids(), world.endpoint("web")), (before.clone(), web.clone()));
    world.weft("down").ok();
    drop(up);

    // Without the file all of it is kept and none of it runs.
    let up = world.up();
    assert_eq!(ids(), before);
    assert_eq!(members(world, "blue"), [("web".to_owned(), web.addresses[0].to_string())]);
    assert_eq!(world.names(), [""; 0]);
    world.weft("network rm blue").refused(1, &["blue", "declared by the file"], "weft up FILE");
    world.weft("run --name web -- true").refused(
        1,
        &["belongs to an endpoint of the file"],
        "another",
    );
    let said = world.weft(&format!("run --network blue,ip={} -- true", web.addresses[0].ip()));
    said.refused(1, &["taken by", "web"], "another");
    world.weft("run --network blue -- true").ok();
    world.weft("reload").refused(1, &["started without a file"], "weft up FILE");
    world.weft("down").ok();
    drop(up);

    // And with it all is there again; also for an appliance that was killed beside one that was not.
    let up = world.up_with(FILE);
    assert_eq!((ids(), world.endpoint("web")), (before.clone(), web.clone()));
    // A reload changes what is different.
    world.write("weft.toml", &FILE.replace("10.207.0.0/24", "10.208.0.0/24"));
    world.weft("reload").ok();
    let after = ids();
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1]["Id"], before[1]["Id"]);
    up.kill();
    let _up = world.up();
    assert_eq!(ids(), after);
}

fn a_file_without_a_network_is_no_reason_not_to_start(world: &World) {
    let up = world.up_with(FILE);
    let ann = world.sandbox("ann", "--network green");
    let mut bob = world.sandbox("bob", "--network green");
    let before = world.endpoint("bob");
    up.kill();
    // Ann will not come back, Bob would like to.
    ann.signal(Signal::KILL);
    ann.end();
    let _up = world.up_with("[networks.blue]\n");
    assert!(!networks(world).contains_key("green"));
    world.weft("run --name ann -- true").ok();
    world.write("weft.toml", FILE);
    world.weft("reload").ok();
    assert_eq!(world.endpoint("bob"), before);
    assert!(!bob.has_ended());
}

fn a_file_that_wants_what_was_made_by_hand_is_refused(world: &World) {
    let up = world.up();
    world.weft("network create --subnet 10.207.0.128/25 red").ok();
    let red = inspect(world, "red");
    world.weft("down").ok();
    drop(up);
    let file = |text: &str| world.write("weft.toml", text).display().to_string();
    let cases = [
        ("[networks.red]\n", ["network red exists already"], "remove it first"),
        (FILE, ["overlaps 10.207.0.128/25 of network red"], "shares no address"),
    ];
    for (text, words, help) in cases {
        for verb in ["up", "up --detach"] {
            let said = world.weft(&format!("{verb} {}", file(text)));
            let without = "`weft up` without the file";
            assert!(said.err.contains(without), "{said:#?}");
            said.refused(1, &words, help);
        }
        assert!(!world.socket().exists());
        world.weft("run --network blue -- true").refused(
            1,
            &["unknown network \"blue\""],
            "network ls",
        );
        eventually("the appliance ends", || world.status().is_none().then_some(()));
    }
    let up = world.up();
    assert_eq!(inspect(world, "red"), red);
    world.weft("network rm red").ok();
    world.weft("down").ok();
    drop(up);
    let _up = world.up_with(&FILE.replace("green", "red"));
    assert_ne!(inspect(world, "red")["Id"], red["Id"]);
}
