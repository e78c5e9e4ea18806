//! What a file declares: brought about, checked, changed.

use rustix::process::Signal;

use crate::support::{Who, World, eventually};

as_both!(
    endpoints_of_a_file_are_served_and_end_with_the_appliance,
    a_dry_run_and_a_check_do_nothing_but_tell,
    a_reload_applies_what_changed_and_nothing_else,
    a_file_says_of_families_and_addresses_what_the_socket_can,
    a_hangup_signal_reloads,
    a_declared_command_that_ends_is_started_again,
    a_declared_command_that_does_not_listen_ends_with_its_appliance,
);
as_root!(namespaces_taps_and_machines_of_a_file_are_attached);

const TWO: &str = "
    [networks.blue]
    subnets = [\"10.201.0.0/24\"]

    [endpoints.web]
    network = \"blue\"
    ip = \"10.201.0.10\"
    mac = \"02:00:00:00:00:10\"
    aliases = [\"www\"]
    command = [\"sleep\", \"infinity\"]

    [endpoints.db]
    network = \"blue\"
    command = [\"sleep\", \"infinity\"]
";

/// Waits until the sandboxes that exist, and run, are these.
#[track_caller]
fn wait_for_names(world: &World, names: &[&str]) {
    eventually(&format!("the sandboxes are {names:?}"), || {
        let lines = world.ps();
        let running = lines.iter().all(|line| line.pid.is_some());
        (running && lines.iter().map(|line| &*line.name).eq(names.iter().copied())).then_some(())
    });
}

fn endpoints_of_a_file_are_served_and_end_with_the_appliance(world: &World) {
    let up = world.up_with(TWO);
    wait_for_names(world, &["db", "web"]);
    let web = world.endpoint("web");
    assert_eq!(
        (&*web.mac, &*web.addresses[0].to_string()),
        ("02:00:00:00:00:10", "10.201.0.10/24")
    );
    eventually("db knows www", || (world.exec("db", "getent hosts www").code == 0).then_some(()));
    world.exec("db", "ping -c 1 -W 2 www").ok();
    let taken = world.weft("run --name web --network blue -- true");
    taken.refused(1, &["web"], "choose another name");
    let taken = world.weft("run --network blue,ip=10.201.0.10 -- true");
    taken.refused(1, &["10.201.0.10", "taken"], "choose another");
    up.signal(Signal::TERM);
    assert_eq!(up.into_program().end().code, 0);
    let left = world.processes();
    assert!(left.is_empty(), "{left:?}");

    // The appliance is killed: what it started ends all the same.
    let up = world.up_with(TWO);
    wait_for_names(world, &["db", "web"]);
    up.kill();
    eventually("all have ended", || world.processes().is_empty().then_some(()));
    drop(world.up());
}

fn a_file_says_of_families_and_addresses_what_the_socket_can(world: &World) {
    const FILE: &str = "
        [networks.six]
        subnets = [\"fd00:201::/64\"]
        ipv4 = false

        [networks.lab]
        ipam = \"null\"

        [endpoints.web]
        network = \"six\"
        command = [\"sleep\", \"infinity\"]
    ";
    let _up = world.up_with(FILE);
    wait_for_names(world, &["web"]);
    let told = |network: &str, what: &str| {
        world.weft(&format!("network inspect --format {{{{.{what}}}}} {network}")).ok()
    };
    assert_eq!(told("six", "EnableIPv4"), "false\n");
    assert_eq!(told("lab", "IPAM.Driver"), "null\n");
    assert_eq!(told("lab", "Attachable"), "false\n");
    let addresses = world.endpoint("web").addresses;
    assert!(matches!(addresses.as_slice(), [only] if only.is_ipv6()), "{addresses:?}");
    let mut guest = world.sandbox("guest", "--network lab");
    assert_eq!(world.endpoint("guest").addresses, []);

    // One of the three changes on a running network.
    world.write("weft.toml", &FILE.replace("ipam =", "attachable = true\n        ipam ="));
    let said = world.weft("reload").ok();
    assert_eq!(said, "~ network lab attachable: false -> true\n");
    assert_eq!(told("lab", "Attachable"), "true\n");
    assert!(!guest.has_ended());
    guest.signal(Signal::TERM);
    guest.end();
    world.write("weft.toml", &FILE.replace("ipv4 = false", "ipv4 = true"));
    let said = world.weft("reload").ok();
    for line in ["- endpoint web", "- network six", "~ network lab", "+ network six", "+ endpoint"]
    {
        assert!(said.contains(line), "no {line} in {said}");
    }
}

fn a_dry_run_and_a_check_do_nothing_but_tell(world: &World) {
    let file = world.write("weft.toml", TWO);
    let plan = world.weft(&format!("up --dry-run {}", file.display())).ok();
    for word in ["blue", "10.201.0.0/24", "web", "10.201.0.10", "db"] {
        assert!(plan.contains(word), "no {word} in {plan}");
    }
    let said = world.weft(&format!("check {}", file.display())).ok();
    assert!(said.contains("is fine: 1 networks, 2 endpoints"), "{said}");
    let file = world.write("bad.toml", &TWO.replace("aliases", "alias"));
    for verb in ["check", "up", "up --dry-run", "up --detach"] {
        let said = world.weft(&format!("{verb} {}", file.display()));
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.starts_with("weft: ") && said.err.contains("bad.toml:9:5"), "{said:?}");
        assert!(said.err.contains("help: ") && said.err.contains("aliases"), "{said:?}");
    }
    let said = world.weft("check no-such.toml");
    assert!(said.code == 1 && said.err.contains("no-such.toml"), "{said:?}");
    assert!(!world.socket().exists());
    assert!(world.processes().is_empty());
}

fn a_reload_applies_what_changed_and_nothing_else(world: &World) {
    let _up = world.up_with(TWO);
    wait_for_names(world, &["db", "web"]);
    let mut ann = world.sandbox("ann", "--network blue");
    wait_for_names(world, &["ann", "db", "web"]);
    let id = |name: &str| world.ps().into_iter().find(|line| line.name == name).unwrap().id;
    let (web, ann_s) = (id("web"), id("ann"));
    assert_eq!(world.weft("reload").ok(), "nothing has changed\n");

    // One more endpoint, one less, one more network, another value of an option.
    let changed = TWO.replace("[endpoints.db]", "[endpoints.cache]").replace(
        "[networks.blue]",
        "[networks.green]\nsubnets = [\"10.202.0.0/24\"]\n[networks.blue]\n\
         options = { storm-control = \"100/s\", isolated = true }",
    );
    world.write("weft.toml", &changed);
    let said = world.weft("reload").ok();
    for word in ["green", "cache", "db", "storm-control", "isolated"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    assert!(!said.contains("web"), "{said}");
    wait_for_names(world, &["ann", "cache", "web"]);
    assert_eq!((id("web"), id("ann")), (web, ann_s));
    let cache = world.endpoint("cache").addresses[0].ip();
    let isolated = world.exec("ann", &format!("ping -c 1 -W 1 {cache}"));
    assert_ne!(isolated.code, 0, "{isolated:?}");
    world.weft("run --network green -- true").ok();

    // A file with an error, or one that breaks a rule, changes nothing.
    let before = world.ps();
    world.write("weft.toml", &changed.replace("isolated = true", "isolated = 7"));
    let said = world.weft("reload");
    assert!(said.code == 1 && said.err.contains("isolated"), "{said:?}");
    world.write("weft.toml", "[networks.green]\nsubnets = [\"10.202.0.0/24\"]\n");
    world.weft("reload").refused(1, &["blue", "ann"], "weft stop");
    let ids = |lines: &[weft::api::shapes::SandboxLine]| -> Vec<_> {
        lines.iter().map(|line| line.id).collect()
    };
    assert_eq!(ids(&world.ps()), ids(&before));

    // Back to where it began.
    world.write("weft.toml", TWO);
    world.weft("reload").ok();
    wait_for_names(world, &["ann", "db", "web"]);
    let web = world.endpoint("web").addresses[0].ip();
    eventually("ann reaches web again", || {
        (world.exec("ann", &format!("ping -c 1 -W 1 {web}")).code == 0).then_some(())
    });
    assert!(!ann.has_ended());
}

fn a_hangup_signal_reloads(world: &World) {
    let up = world.up_with(TWO);
    wait_for_names(world, &["db", "web"]);
    world.write("weft.toml", "[networks.blue]\nsubnets = [\"10.201.0.0/24\"]\n");
    up.signal(Signal::HUP);
    wait_for_names(world, &[]);
    world.write("weft.toml", "[networks.blue\n");
    up.signal(Signal::HUP);
    world.write("weft.toml", TWO);
    eventually("the broken file was refused and this one is applied", || {
        up.signal(Signal::HUP);
        (world.names() == ["db", "web"]).then_some(())
    });
    drop(up);

    let _up = world.up();
    world.weft("reload").refused(1, &["started without a file"], "weft up FILE");
}

fn a_declared_command_that_ends_is_started_again(world: &World) {
    let _up = world.up_with(TWO);
    wait_for_names(world, &["db", "web"]);
    let id = |name: &str| world.ps().into_iter().find(|l| l.name == name).map(|line| line.id);
    let (db, web) = (id("db"), id("web"));
    let address = world.endpoint("db").addresses.clone();
    // Process 2 is the program; this one ends with it.
    let _ = world.exec("db", "kill -KILL 2");
    eventually("db is another", || id("db").filter(|new| Some(*new) != db));
    assert_eq!(id("web"), web);
    assert_eq!(world.endpoint("db").addresses, address);
}

fn a_declared_command_that_does_not_listen_ends_with_its_appliance(world: &World) {
    let stubborn = TWO.replace(
        "command = [\"sleep\", \"infinity\"]",
        "command = [\"bash\", \"-c\", \"trap '' TERM; exec sleep infinity\"]",
    );
    let up = world.up_with(&stubborn);
    wait_for_names(world, &["db", "web"]);
    let before = world.processes().len();
    up.kill();
    assert!(world.processes().len() > before / 2, "they do not listen");
    // The next one's are its own, and the only ones soon.
    let up = world.up_with(&stubborn);
    wait_for_names(world, &["db", "web"]);
    eventually("the old ones have ended", || (world.processes().len() <= before).then_some(()));
    wait_for_names(world, &["db", "web"]);
    up.kill();
    eventually("all have ended", || world.processes().is_empty().then_some(()));
    drop(world.up());
}

fn namespaces_taps_and_machines_of_a_file_are_attached(world: &World) {
    assert_eq!(world.who, Who::Root);
    let namespace = world.namespace("db");
    let tap = world.ifname();
    let socket = world.path("vm.sock");
    let file = format!(
        "
        [networks.blue]
        subnets = [\"10.231.0.0/24\"]
        [endpoints.web]
        network = \"blue\"
        command = [\"sleep\", \"infinity\"]
        [endpoints.db]
        network = \"blue\"
        ip = \"10.231.0.20\"
        ifname = \"lan0\"
        netns = \"{}\"
        [endpoints.here]
        network = \"blue\"
        ip = \"10.231.0.30\"
        tap = \"{tap}\"
        [endpoints.vm]
        network = \"blue\"
        mac = \"02:00:00:00:00:40\"
        qemu = \"{}\"
        ",
        namespace.path(),
        socket.display()
    );
    let up = world.up_with(&file);
    eventually("all four are there", || {
        (world.names() == ["db", "here", "vm", "web"]).then_some(())
    });
    eventually("the socket is there", || socket.exists().then_some(()));
    eventually("web reaches db", || {
        (world.exec("web", "ping -c 1 -W 1 10.231.0.20").code == 0).then_some(())
    });
    namespace.run("ip link show lan0").ok();
    eventually("web reaches this host", || {
        (world.exec("web", "ping -c 1 -W 1 10.231.0.30").code == 0).then_some(())
    });
    world.host("ping -c 1 -W 2 10.231.0.20").ok();

    // Without its endpoints in the file, nothing of them is left.
    world.write("weft.toml", "[networks.blue]\nsubnets = [\"10.231.0.0/24\"]\n");
    world.weft("reload").ok();
    eventually("all are gone", || world.names().is_empty().then_some(()));
    eventually("their interfaces and socket, too", || {
        let there = namespace.run("ip link show lan0").code == 0
            || world.host(&format!("ip link show {tap}")).code == 0
            || socket.exists();
        (!there).then_some(())
    });
    drop(up);
}
