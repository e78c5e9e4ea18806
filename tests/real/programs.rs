//! Programs in a network stack of their own.

use rustix::process::Signal;

use crate::support::{Program, Who, World, eventually};

/// Two networks for the tests here.
const NETWORKS: &str = "
    [networks.blue]
    subnets = [\"10.201.0.0/24\"]
    [networks.green]
    subnets = [\"10.202.0.0/24\"]
";

as_both!(
    a_program_gets_a_private_stack,
    two_programs_reach_each_other_by_name_and_alias,
    a_program_s_end_becomes_the_exit_code,
    input_and_output_pass_unchanged,
    what_is_said_about_an_endpoint_holds,
    a_program_on_two_networks_reaches_both_and_joins_neither,
    a_program_may_see_itself_as_root,
    a_program_may_listen_on_a_low_port,
    exec_enters_the_sandbox_s_namespaces,
    stop_ends_sandboxes_and_kills_the_stubborn,
    a_detached_sandbox_is_there_when_the_command_returns,
    network_none_has_loopback_only_and_host_shares_the_host_s,
    an_appliance_comes_on_demand_and_goes_when_idle,
    two_that_start_at_the_same_moment_share_one_appliance,
    forty_sandboxes_come_together_know_each_other_and_go_together,
);

fn a_program_gets_a_private_stack(world: &World) {
    let _up = world.up_with(NETWORKS);
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    let script = "ip -o link | cut -d: -f2; ip -o address show lo; ip -o -4 address show eth0; \
                  echo; cat /etc/hosts; cat /etc/resolv.conf; hostname; echo pid $$; \
                  ls /proc | grep -c '^[0-9]'; id -u";
    let mut command = world.weft_command("run --name solo --network blue,ip=10.201.0.7 -- sh -c");
    command.arg(script);
    let said = Program::start(command).end().ok();
    assert!(said.starts_with(" lo\n eth0\n"), "{said}");
    assert!(said.contains("inet 127.0.0.1/8"), "{said}");
    assert!(said.contains("inet 10.201.0.7/24"), "{said}");
    assert!(said.contains("10.201.0.7\tsolo"), "{said}");
    assert!(said.contains("Written by weft for this sandbox"), "{said}");
    assert!(said.contains("\nsolo\n"), "{said}");
    assert!(said.contains("pid 2\n"), "{said}");
    assert!(said.ends_with(&format!("\n{}\n", world.ids().0)), "{said}");
    assert_eq!(std::fs::read_to_string("/etc/hosts").unwrap(), hosts);
}

fn two_programs_reach_each_other_by_name_and_alias(world: &World) {
    let _up = world.up_with(NETWORKS);
    let _ann = world.sandbox("ann", "--network blue,alias=anna,alias=all");
    let _bob = world.sandbox("bob", "--network blue,alias=all");
    let named = |name: &str, other: &str| {
        let script = format!("getent hosts {other}");
        eventually(&format!("{name} knows {other}"), || {
            (world.exec(name, &script).code == 0).then_some(())
        });
        world.exec(name, &format!("ping -c 2 -i 0.1 -W 2 {other}")).ok();
    };
    named("ann", "bob");
    named("bob", "ann");
    named("bob", "anna");
    named("bob", "all");
    let dropped = world.drops();
    assert!(dropped.iter().all(|line| line.reason == "alone"), "{dropped:?}");
}

fn a_program_s_end_becomes_the_exit_code(world: &World) {
    let _up = world.up();
    let plain = world.write("plain", "no program\n");
    let cases = [
        ("-- true".to_owned(), 0, ""),
        ("-- sh -c 'exit 7'".to_owned(), 7, ""),
        ("-- sh -c 'exit 255'".to_owned(), 255, ""),
        // A program that leads a process group of its own.
        ("-- timeout 20 sh -c 'exit 3'".to_owned(), 3, ""),
        ("-- sh -c 'kill -TERM $$'".to_owned(), 143, ""),
        ("-- sh -c 'kill -KILL $$'".to_owned(), 137, ""),
        ("-- no-such-program".to_owned(), 127, "weft: cannot run no-such-program: no such program"),
        (format!("-- {}", plain.display()), 126, "cannot run"),
        ("-- /etc".to_owned(), 126, "cannot run /etc"),
    ];
    for (line, code, words) in &cases {
        let said = world.weft(&format!("run {line}"));
        assert_eq!(said.code, *code, "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
        assert_eq!(said.err.is_empty(), words.is_empty(), "{said:?}");
    }
    for _ in 0..5 {
        // A name is free as soon as the command that had it has returned.
        world.weft("run --name again -- true").ok();
    }
    let _ann = world.sandbox("ann", "");
    for (line, code, words) in &cases {
        let said = world.weft(&format!("exec ann {line}"));
        assert_eq!(said.code, *code, "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
    }
}

fn input_and_output_pass_unchanged(world: &World) {
    let _up = world.up();
    let sent: Vec<u8> =
        (0..1_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut cat = world.start("run -- cat");
    let mut stdin = cat.take_stdin();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &copy).unwrap());
    eventually("all has come back", || (cat.printed() >= sent.len()).then_some(()));
    writer.join().unwrap();
    assert!(cat.octets() == sent);
    assert_eq!(cat.end().code, 0);

    let said = world.weft("run -- sh -c 'echo out; echo err >&2'");
    assert_eq!((said.code, &*said.out, &*said.err), (0, "out\n", "err\n"));
}

fn what_is_said_about_an_endpoint_holds(world: &World) {
    let _up = world.up_with(NETWORKS);
    let options = "--network blue,ip=10.201.0.33,mac=02:00:00:00:00:33,ifname=lan0";
    let ann = world.sandbox("ann", options);
    let link = world.exec("ann", "ip link show lan0; ip address show lan0").ok();
    assert!(link.contains("link/ether 02:00:00:00:00:33"), "{link}");
    assert!(link.contains("inet 10.201.0.33/24"), "{link}");
    let lines = world.ps();
    assert_eq!(lines.len(), 1);
    let endpoint = &lines[0].endpoints[0];
    assert_eq!((&*lines[0].name, &*lines[0].command[0]), ("ann", "bash"));
    assert_eq!(
        (&*endpoint.network, &*endpoint.mac, &*endpoint.ifname, endpoint.mtu),
        ("blue", "02:00:00:00:00:33", "lan0", 1500)
    );
    let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.201.0.33/24"]);
    assert!(world.weft("ps").ok().contains("10.201.0.33"));

    let again = world.weft(&format!("run --name bob {options} -- true"));
    again.refused(1, &["taken"], "choose another");
    drop(ann);
    // What was ann's is free again at once.
    world.weft(&format!("run --name bob {options} -- true")).ok();
}

fn a_program_on_two_networks_reaches_both_and_joins_neither(world: &World) {
    let _up = world.up_with(NETWORKS);
    let _ann = world.sandbox("ann", "--network blue");
    let _bob = world.sandbox("bob", "--network green");
    let _mid = world.sandbox("mid", "--network blue --network green");
    assert_eq!(world.ps().iter().find(|line| line.name == "mid").unwrap().endpoints.len(), 2);
    let (ann, bob) = (world.endpoint("ann"), world.endpoint("bob"));
    for other in [ann.addresses[0].ip(), bob.addresses[0].ip()] {
        world.exec("mid", &format!("ping -c 1 -W 2 {other}")).ok();
    }
    let across = world.exec("ann", &format!("ping -c 1 -W 1 {}", bob.addresses[0].ip()));
    assert_ne!(across.code, 0, "{across:?}");
    assert_ne!(world.exec("ann", "getent hosts bob").code, 0);
}

fn a_program_may_see_itself_as_root(world: &World) {
    let _up = world.up();
    let script = "id -u; id -g; ip link add dummy0 type bridge && echo may";
    let mut command = world.weft_command("run --root -- sh -c");
    command.arg(script);
    assert_eq!(Program::start(command).end().ok(), "0\n0\nmay\n");
}

fn a_program_may_listen_on_a_low_port(world: &World) {
    let _up = world.up_with(NETWORKS);
    let _ann = world.program(
        "ann",
        "--network blue",
        "echo up; exec socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:'echo hello from ann'",
        "up",
    );
    world.wait_for_listener("ann", 80);
    let _bob = world.sandbox("bob", "--network blue");
    let address = world.endpoint("ann").addresses[0].ip();
    let said = world.exec("bob", &format!("socat -u TCP:{address}:80 -")).ok();
    assert_eq!(said, "hello from ann\n");
}

fn exec_enters_the_sandbox_s_namespaces(world: &World) {
    let _up = world.up();
    let script = "readlink /proc/self/ns/{net,pid,mnt,uts,user}; hostname; echo up; \
                  exec sleep infinity";
    let ann = world.program("ann", "", script, "up");
    let inner = world.exec("ann", "readlink /proc/self/ns/{net,pid,mnt,uts,user}; hostname").ok();
    assert_eq!(format!("{inner}up\n"), ann.out());
    let id = world.ps()[0].id.short();
    assert_eq!(world.exec(&id, "hostname").ok(), "ann\n");
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(!inner.contains(outside.to_str().unwrap()));
    // A sandbox that is being set up is waited for.
    for n in 0..3 {
        let early = world.start(&format!("run --name early{n} -- sleep infinity"));
        eventually("it is listed", || {
            world.names().iter().any(|name| name.starts_with("early")).then_some(())
        });
        world.exec(&format!("early{n}"), "true").ok();
        drop(early);
    }
    // What is started in a sandbox ends with it.
    let mut exec = world.start("exec ann -- sh -c 'echo in; exec sleep infinity'");
    exec.wait_for("in");
    world.weft("stop --time 2 ann").ok();
    assert_eq!(exec.end().code, 137);
    assert_eq!(ann.end().code, 143);
}

fn stop_ends_sandboxes_and_kills_the_stubborn(world: &World) {
    let _up = world.up();
    let ann = world.sandbox("ann", "");
    let bob =
        world.program("bob", "", "trap 'echo asked' TERM; echo up; while :; do read x; done", "up");
    let eve = world.program(
        "eve",
        "",
        "trap 'exit 3' USR1; echo up; while :; do read -t 0.1 x <> <(:); done",
        "up",
    );
    assert_eq!(world.names(), ["ann", "bob", "eve"]);
    assert_eq!(world.weft("stop ann").ok(), "ann\n");
    assert_eq!(ann.end().code, 143);
    assert_eq!(world.weft("stop --time 1 bob").ok(), "bob\n");
    let bob = bob.end();
    assert_eq!(bob.code, 137);
    assert!(bob.out.contains("asked"), "{bob:?}");
    assert_eq!(world.weft("stop --signal USR1 eve").ok(), "eve\n");
    assert_eq!(eve.end().code, 3);
    assert_eq!(world.names(), [""; 0]);
    world.weft("stop ann").refused(1, &["ann"], "weft ps");
    // Any signal reaches the program, also those that nobody passes on by name.
    for (number, name) in [(14, "ALRM"), (12, "USR2"), (40, "RTMIN+6"), (64, "RTMAX")] {
        let script =
            format!("trap 'exit 9' {name}; echo up; while :; do read -t 0.1 x <> <(:); done");
        let sandbox = world.program("sam", "", &script, "up");
        assert_eq!(world.weft(&format!("stop --signal {number} sam")).ok(), "sam\n");
        assert_eq!(sandbox.end().code, 9, "{name}");
    }
}

fn a_detached_sandbox_is_there_when_the_command_returns(world: &World) {
    let _up = world.up();
    assert_eq!(world.weft("run --detach --name ann -- sleep infinity").ok(), "ann\n");
    assert_eq!(world.names(), ["ann"]);
    assert_eq!(world.exec("ann", "hostname").ok(), "ann\n");
    world.weft("run --detach --name ann -- true").refused(1, &["ann", "taken"], "weft ps");
    let said = world.weft("run --detach -- no-such-program");
    said.refused(1, &["no-such-program"], "");
    world.weft("stop ann").ok();
}

fn network_none_has_loopback_only_and_host_shares_the_host_s(world: &World) {
    let _up = world.up();
    let links = world.weft("run --network none -- ip -o link").ok();
    assert!(links.lines().count() == 1 && links.contains("lo:"), "{links}");
    let inner = world.weft("run --network host -- readlink /proc/self/ns/net").ok();
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(inner.trim(), outside.to_str().unwrap());
}

fn an_appliance_comes_on_demand_and_goes_when_idle(world: &World) {
    assert!(world.status().is_none());
    let ann = world.sandbox("ann", "");
    let status = world.status().unwrap();
    assert!(status.on_demand);
    assert_eq!(status.sandboxes, 1);
    assert!(world.socket().exists());
    ann.signal(Signal::TERM);
    assert_eq!(ann.end().code, 143);
    let ended = std::time::Instant::now();
    eventually("the appliance is gone", || (!world.socket().exists()).then_some(()));
    let took = ended.elapsed().as_secs_f32();
    assert!((2.0..8.0).contains(&took), "{took} s");
}

fn two_that_start_at_the_same_moment_share_one_appliance(world: &World) {
    let start = |name: &str| world.start(&format!("run --name {name} -- sleep infinity"));
    let mut started: Vec<Program> = ["a", "b", "c", "d"].map(start).into();
    eventually("all are there", || {
        let ended: Vec<String> =
            started.iter_mut().filter_map(|p| p.has_ended().then(|| p.err())).collect();
        assert!(ended.is_empty(), "{ended:?}");
        (world.status()?.sandboxes == 4).then_some(())
    });
    // Each was told of those that came while it was itself being set up.
    for (name, other) in [("a", "d"), ("d", "a"), ("b", "c"), ("c", "b")] {
        eventually(&format!("{name} knows {other}"), || {
            (world.exec(name, &format!("getent hosts {other}")).code == 0).then_some(())
        });
    }
    let appliances: Vec<_> =
        world.processes().into_iter().filter(|(_, line)| line.starts_with("weft up")).collect();
    assert_eq!(appliances.len(), 1, "{appliances:?}");
    assert_eq!(world.who == Who::Root, world.ids() == (0, 0));
    let stopped = world.weft("down").ok();
    assert!(["a", "b", "c", "d"].iter().all(|name| stopped.contains(name)), "{stopped}");
    for program in started {
        assert_eq!(program.end().code, 143);
    }
}

fn forty_sandboxes_come_together_know_each_other_and_go_together(world: &World) {
    let _up = world.up_with(NETWORKS);
    let started: Vec<Program> = (0..40)
        .map(|n| world.start(&format!("run --name s{n} --network blue -- sleep infinity")))
        .collect();
    eventually("all of them run", || {
        let lines = world.ps();
        (lines.len() == 40 && lines.iter().all(|line| line.pid.is_some())).then_some(())
    });
    let addresses: std::collections::BTreeSet<String> =
        world.ps().iter().map(|line| line.endpoints[0].addresses[0].to_string()).collect();
    assert_eq!(addresses.len(), 40);
    for name in ["s0", "s20", "s39"] {
        eventually(&format!("{name} knows all of them"), || {
            let known = world.exec(name, "grep -c 10.201.0 /etc/hosts");
            (known.out.trim() == "40").then_some(())
        });
    }
    world.exec("s0", "ping -c 1 -W 2 s39").ok();
    world.weft("down").ok();
    for program in started {
        assert_eq!(program.end().code, 143);
    }
}
