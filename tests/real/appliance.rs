//! An appliance's start and end, and the socket that is its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::support::{World, eventually};

as_both!(
    down_ends_the_appliance_and_its_sandboxes,
    an_end_goes_on_when_nobody_waits_for_it_any_more,
    a_signal_ends_the_appliance_and_leaves_its_sandboxes,
    a_second_appliance_on_a_socket_is_refused,
    the_socket_of_a_killed_appliance_is_replaced,
    what_is_no_socket_stays_where_it_is,
    an_appliance_in_the_background_answers_when_the_command_returns,
    the_tables_are_printed_for_people_too,
);

fn down_ends_the_appliance_and_its_sandboxes(world: &World) {
    let up = world.up();
    let mode = fs::metadata(world.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder = fs::metadata(world.socket().parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(folder & 0o777, 0o700);
    let ann = world.sandbox("ann", "");
    let stubborn =
        world.program("bob", "", "trap '' TERM; echo up; while :; do read x; done", "up");
    let said = world.weft("down").ok();
    assert_eq!(said, "stopped ann, bob\n");
    assert!(!world.socket().exists());
    assert_eq!(ann.end().code, 143);
    assert_eq!(stubborn.end().code, 137);
    assert_eq!(up.into_program().end().code, 0);
    for verb in ["down", "ps", "status", "stop ann", "exec ann -- true", "reload", "show ports"] {
        world.weft(verb).refused(1, &["no appliance is running at"], "weft up");
    }
}

fn an_end_goes_on_when_nobody_waits_for_it_any_more(world: &World) {
    let up = world.up_with(
        "[networks.blue]\nsubnets = [\"10.201.0.0/24\"]\n\
         [endpoints.web]\nnetwork = \"blue\"\ncommand = [\"sleep\", \"infinity\"]\n",
    );
    let script = "trap 'echo told' TERM; echo up; while :; do read -t 1 x; done";
    let mut stubborn = world.program("bob", "", script, "up");
    let down = world.start("down");
    stubborn.wait_for("told");
    down.signal(Signal::KILL);
    assert_eq!(down.end().code, 137);
    // Nothing new comes in, and whoever asks again waits for the same end.
    world.weft("run -- true").refused(1, &["about to end"], "");
    world.weft("reload").refused(1, &[""], "");
    assert_eq!(world.weft("down").ok(), "stopped bob, web\n");
    assert_eq!(up.into_program().end().code, 0);
    assert_eq!(stubborn.end().code, 137);
    assert!(world.processes().is_empty());
}

fn a_signal_ends_the_appliance_and_leaves_its_sandboxes(world: &World) {
    // Two names: the first is kept a while for whoever might come back.
    for (name, signal) in [("ann", Signal::TERM), ("bob", Signal::INT)] {
        let up = world.up();
        let mut ann = world.sandbox(name, "");
        up.signal(signal);
        assert_eq!(up.into_program().end().code, 0);
        assert!(!world.socket().exists());
        assert!(!ann.has_ended());
        ann.signal(Signal::TERM);
        assert_eq!(ann.end().code, 143);
    }
}

fn a_second_appliance_on_a_socket_is_refused(world: &World) {
    let up = world.up();
    let pid = format!("process {}", up.pid());
    let place = world.socket().display().to_string();
    world.weft("up").refused(1, &["already running", &place, &pid], "weft down");
    world.weft("up --detach").refused(1, &["already running", &pid], "weft down");
    assert_eq!(world.status().unwrap().pid.to_string(), up.pid().to_string());
    let other = world.path("other/weft.sock");
    let second = world.start(&format!("up --socket {}", other.display()));
    eventually("another socket is another appliance", || other.exists().then_some(()));
    world.weft(&format!("down --socket {}", other.display())).ok();
    assert_eq!(second.end().code, 0);
}

fn the_socket_of_a_killed_appliance_is_replaced(world: &World) {
    world.up().kill();
    assert!(world.socket().exists());
    world.weft("ps").refused(1, &["no appliance is running at"], "weft up");
    let _up = world.up();
    assert_eq!(world.names(), [""; 0]);
}

fn what_is_no_socket_stays_where_it_is(world: &World) {
    let text = "[networks.blue]\n";
    let file = world.write("precious.toml", text);
    let up = |socket: &std::path::Path| world.weft(&format!("up --socket {}", socket.display()));
    up(&file).refused(1, &["precious.toml", "no socket"], "--socket");
    assert!(!world.path("precious.toml.lock").exists());
    // Nor is what has the name of its lock.
    let lock = world.write("weft.sock.lock", "[[package]]\n");
    up(&world.path("weft.sock")).refused(1, &["weft.sock.lock", "no lock"], "--socket");
    std::os::unix::fs::symlink(&file, world.path("linked.sock.lock")).unwrap();
    up(&world.path("linked.sock")).refused(1, &["linked.sock.lock", "no lock"], "--socket");
    assert_eq!(fs::read_to_string(lock).unwrap(), "[[package]]\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    // A socket of somebody else's is in use.
    let other = world.path("other.sock");
    let _other = std::os::unix::net::UnixListener::bind(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o666)).unwrap();
    up(&other).refused(1, &["other.sock", "somebody listens there"], "--socket");
    assert!(other.exists());

    let _up = world.up();
    let attach = |path: &std::path::Path| world.weft(&format!("attach --qemu {}", path.display()));
    attach(&file).refused(1, &["precious.toml", "no socket"], "another path");
    attach(&other).refused(1, &["other.sock", "somebody listens there"], "another path");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

fn an_appliance_in_the_background_answers_when_the_command_returns(world: &World) {
    let said = world.weft("up --detach").ok();
    assert_eq!(said, format!("up at {}\n", world.socket().display()));
    let status = world.status().unwrap();
    assert!(!status.on_demand);
    world.weft("down").ok();
    assert!(world.status().is_none());
}

fn the_tables_are_printed_for_people_too(world: &World) {
    let _up = world.up();
    let _ann = world.sandbox("ann", "");
    let _bob = world.sandbox("bob", "");
    let bob = world.endpoint("bob");
    world.exec("ann", &format!("ping -c 1 -W 2 {}", bob.addresses[0].ip())).ok();
    let cases = [
        ("ps", vec!["NAME", "ann", "bob", "bridge", "172."]),
        ("status", vec!["appliance", "2 sandboxes", "2 endpoints", "resident"]),
        ("show fdb", vec!["STATION", bob.mac.as_str(), "bob"]),
        ("show ports", vec!["FORWARDED", "ann", "bob"]),
        ("show drops", vec![""]),
        ("--version", vec!["weft 0."]),
        ("--help", vec!["Usage: weft"]),
    ];
    for (verb, words) in cases {
        let said = world.weft(verb).ok();
        for word in words {
            assert!(said.contains(word), "{verb}: no {word:?} in {said}");
        }
    }
    assert_eq!(world.weft("").code, 2);
    assert_eq!(world.weft("run").code, 2);
    assert_eq!(world.weft("flub").code, 2);
}
