//! Stacks that exist already: namespaces, processes, TAPs.

use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::support::{Program, World, eventually};

as_root!(
    a_namespace_is_attached_by_name_and_by_path,
    the_namespace_of_a_process_is_attached,
    a_tap_of_the_host_s_is_attached,
    an_attach_that_is_refused_changes_nothing,
    a_deleted_namespace_ends_its_attach,
    attached_namespaces_survive_a_killed_appliance,
    a_namespace_deleted_while_no_appliance_runs_ends_its_attach,
);
as_ordinary!(a_user_attaches_a_tap_that_an_administrator_made);
as_both!(
    a_user_attaches_what_is_the_user_s_own,
    a_guest_that_knocks_as_the_appliance_goes_is_the_next_one_s,
);

const BLUE: &str = "
    [networks.blue]
    subnets = [\"10.232.0.0/24\"]
";

fn a_namespace_is_attached_by_name_and_by_path(world: &World) {
    let _up = world.up_with(BLUE);
    let (one, two) = (world.namespace("one"), world.namespace("two"));
    let mut first =
        world.start(&format!("attach --network blue,ip=10.232.0.11 --netns {}", one.name));
    first.wait_for("10.232.0.11/24 on network blue");
    let line = format!("attach --network blue,ifname=lan0 --name two --netns {}", two.path());
    let mut second = world.start(&line);
    second.wait_for("lan0");
    let mut names = world.names();
    names.sort();
    assert_eq!(names, ["two".to_owned(), one.name.clone()]);
    two.run("ping -c 1 -W 2 10.232.0.11").ok();
    let _ann = world.sandbox("ann", "--network blue");
    world.exec("ann", "ping -c 1 -W 2 10.232.0.11").ok();
    world.exec("ann", "ping -c 1 -W 2 two").ok();
    let exec = world.weft("exec two -- true");
    exec.refused(1, &["two"], "ip netns exec");

    // Ended, it takes the interface along and leaves the namespace.
    drop(first);
    world.wait_until_gone(&one.name);
    assert_ne!(one.run("ip link show eth0").code, 0);
    world.weft("stop two").ok();
    assert_eq!(second.end().code, 0);
    assert_ne!(two.run("ip link show lan0").code, 0);
}

fn the_namespace_of_a_process_is_attached(world: &World) {
    let _up = world.up_with(BLUE);
    let namespace = world.namespace("one");
    let inside = namespace.start("sleep infinity");
    eventually("the program is inside", || {
        let own = std::fs::read_link(format!("/proc/{}/ns/net", inside.pid())).ok()?;
        (own != std::fs::read_link("/proc/self/ns/net").unwrap()).then_some(())
    });
    let line = format!("attach --network blue,ip=10.232.0.12 --name p --pid {}", inside.pid());
    let mut attach = world.start(&line);
    attach.wait_for("10.232.0.12/24");
    let _ann = world.sandbox("ann", "--network blue");
    world.exec("ann", "ping -c 1 -W 2 10.232.0.12").ok();
    world.weft("attach --network blue --pid 999999999").refused(
        1,
        &["process 999999999 cannot be found"],
        "",
    );
}

fn a_tap_of_the_host_s_is_attached(world: &World) {
    let _up = world.up_with(BLUE);
    let tap = world.ifname();
    let mut attach = world.start(&format!("attach --network blue,ip=10.232.0.13 --tap {tap}"));
    attach.wait_for(&format!("{tap}: {tap} 10.232.0.13/24 on network blue"));
    let _ann = world.sandbox("ann", "--network blue,ip=10.232.0.14");
    world.exec("ann", "ping -c 1 -W 2 10.232.0.13").ok();
    world.host("ping -c 1 -W 2 10.232.0.14").ok();
    world.weft(&format!("attach --network blue --name b --tap {tap}")).refused(
        1,
        &[&tap, "busy"],
        "choose another name",
    );
    // Deleted from outside, it ends the attach.
    world.host(&format!("ip link del {tap}")).ok();
    let said = attach.end();
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&format!("the interface {tap} has gone")), "{said:?}");
    world.wait_until_gone(&tap);
}

fn an_attach_that_is_refused_changes_nothing(world: &World) {
    let _up = world.up_with(BLUE);
    let namespace = world.namespace("one");
    let name = &namespace.name;
    let _ann = world.sandbox("ann", "--network blue,ip=10.232.0.14");
    let at = |rest: &str| world.weft(&format!("attach --netns {name} {rest}"));
    at("--network blue --name ann").refused(1, &["ann", "taken"], "weft ps");
    at("--network blu").refused(1, &["unknown network \"blu\""], "did you mean \"blue\"?");
    at("--network blue,ip=10.232.0.14").refused(1, &["10.232.0.14", "taken"], "choose another");
    at("--network blue,ip=10.9.9.9").refused(1, &["10.9.9.9", "outside"], "choose an address");
    at("--network host").refused(1, &["host", "no ports"], "");
    at("--network blue,mac=03:00:00:00:00:01").refused(1, &["03:00:00:00:00:01"], "even");
    at("--network blue,flub=1").refused(2, &["unknown key \"flub\""], "ip6");
    at("--network blue,ip=ten").refused(2, &["\"ten\" is no IPv4 address"], "");
    at("--network blue,ifname=lo").refused(1, &["lo"], "");
    let said = world.weft("attach --network blue --netns /no/such");
    said.refused(1, &["/no/such cannot be opened"], "ip netns list");
    assert_eq!(world.names(), ["ann"]);
    let links = namespace.run("ip -o link").ok();
    assert_eq!(links.lines().count(), 1, "{links}");
}

fn a_deleted_namespace_ends_its_attach(world: &World) {
    let _up = world.up_with(BLUE);
    let namespace = world.namespace("one");
    let line =
        format!("attach --network blue,ip=10.232.0.15 --name one --netns {}", namespace.name);
    let mut attach = world.start(&line);
    attach.wait_for("10.232.0.15/24");
    namespace.delete();
    let said = attach.end();
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("the interface eth0 has gone"), "{said:?}");
    world.wait_until_gone("one");
    world.weft("run --name one --network blue,ip=10.232.0.15 -- true").ok();
}

fn attached_namespaces_survive_a_killed_appliance(world: &World) {
    let up = world.up_with(BLUE);
    let namespace = world.namespace("one");
    let line =
        format!("attach --network blue,ip=10.232.0.16 --name one --netns {}", namespace.name);
    let mut attach = world.start(&line);
    attach.wait_for("10.232.0.16/24");
    let _ann = world.sandbox("ann", "--network blue,ip=10.232.0.17");
    let ping = namespace.start("ping -c 20 -i 0.1 10.232.0.17");
    eventually("it answers", || ping.out().contains("icmp_seq=2").then_some(()));
    up.kill();
    namespace.run("ip link show eth0").ok();
    let _up = world.up_with(BLUE);
    eventually("both have come back", || (world.ports().len() == 2).then_some(()));
    namespace.run("ping -c 1 -W 2 10.232.0.17").ok();
    drop(ping);
    assert!(!attach.has_ended());
}

fn a_namespace_deleted_while_no_appliance_runs_ends_its_attach(world: &World) {
    let up = world.up_with(BLUE);
    let namespace = world.namespace("one");
    let line = format!("attach --network blue --name one --netns {}", namespace.name);
    let mut attach = world.start(&line);
    attach.wait_for("on network blue");
    world.weft("down --keep").ok();
    assert_eq!(up.into_program().end().code, 0);
    namespace.delete();
    let said = attach.end();
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("the interface eth0 has gone"), "{said:?}");
    let _up = world.up_with(BLUE);
    assert_eq!(world.names(), [""; 0]);
}

fn a_guest_that_knocks_as_the_appliance_goes_is_the_next_one_s(world: &World) {
    let up = world.up_with(BLUE);
    let socket = world.path("vm.sock");
    let line = format!("attach --network blue --name vm --qemu {}", socket.display());
    let mut attach = world.start(&line);
    attach.wait_for("netdev");
    // Stopped, it cannot answer before it is gone.
    up.signal(Signal::STOP);
    let guest = UnixStream::connect(&socket).unwrap();
    up.kill();
    let _up = world.up_with(BLUE);
    eventually("the guest's port is there", || (world.ports().len() == 1).then_some(()));
    drop(guest);
    eventually("it may come again", || world.ports().is_empty().then_some(()));
    let _guest = UnixStream::connect(&socket).unwrap();
    eventually("it has", || (world.ports().len() == 1).then_some(()));
    assert!(!attach.has_ended());
}

fn a_user_attaches_what_is_the_user_s_own(world: &World) {
    let _up = world.up_with(BLUE);
    let mut command = world.command("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        "echo up; exec sleep infinity",
    ]);
    let mut inside = Program::start(command);
    inside.wait_for("up");
    let line = format!("attach --network blue,ip=10.232.0.18 --name own --pid {}", inside.pid());
    let mut attach = world.start(&line);
    attach.wait_for("10.232.0.18/24");
    let _ann = world.sandbox("ann", "--network blue");
    world.exec("ann", "ping -c 1 -W 2 10.232.0.18").ok();
    inside.signal(Signal::KILL);
    drop(attach);
    world.wait_until_gone("own");
}

fn a_user_attaches_a_tap_that_an_administrator_made(world: &World) {
    let _up = world.up_with(BLUE);
    let tap = world.ifname();
    let administrator = |line: &str| {
        let mut words = line.split_whitespace();
        let mut command = std::process::Command::new(words.next().unwrap());
        command.args(words).env("WEFT_SOCKET", world.socket());
        Program::start(command).end().ok()
    };
    let user = world.ids().0;
    administrator(&format!("ip tuntap add dev {tap} mode tap user {user} vnet_hdr"));
    let line = format!("attach --network blue,ip=10.232.0.19,mac=02:00:00:00:00:19 --tap {tap}");
    let mut attach = world.start(&line);
    attach.wait_for("10.232.0.19/24 on network blue");
    // It says what is left to do, in words that can be pasted.
    let said = attach.err();
    let (_, commands) = said.split_once("as root: ").unwrap_or_else(|| panic!("{said}"));
    for command in commands.trim().split("; ") {
        administrator(command);
    }
    let _ann = world.sandbox("ann", "--network blue");
    eventually("ann reaches it", || {
        (world.exec("ann", "ping -c 1 -W 1 10.232.0.19").code == 0).then_some(())
    });
    drop(attach);
    // What the administrator made is the administrator's to remove.
    administrator(&format!("ip link del {tap}"));
}
