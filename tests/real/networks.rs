//! Networks made by hand, with `weft network`: beside those of a file, and under what runs.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Program, World, eventually};

as_both!(
    a_reload_leaves_alone_what_was_made_by_hand,
    networks_made_by_hand_outlive_an_appliance_of_weft_run_s_own,
    many_join_and_leave_at_once,
    what_cannot_join_or_leave_is_refused,
    a_network_without_addresses_carries_what_its_guests_agree_on,
    a_program_may_end_while_it_joins,
    a_sandbox_off_every_network_outlives_its_appliance,
);

const FILE: &str = "
    [networks.blue]
    subnets = [\"10.241.0.0/24\"]

    [endpoints.db]
    network = \"blue\"
    command = [\"sleep\", \"infinity\"]
";

fn inspect(world: &World, network: &str) -> Value {
    let text = world.weft(&format!("network inspect {network}")).ok();
    let networks: Value = serde_json::from_str(&text).unwrap();
    networks[0].clone()
}

fn a_reload_leaves_alone_what_was_made_by_hand(world: &World) {
    let _up = world.up_with(FILE);
    eventually("db runs", || world.ps().iter().any(|line| line.pid.is_some()).then_some(()));
    world.weft("network create --subnet 10.242.0.0/24 --label by=hand red").ok();
    world.weft("network connect --ip 10.242.0.9 red db").ok();
    let _ann = world.sandbox("ann", "--network red");
    let (before, db) = (inspect(world, "red"), world.endpoints("db"));
    assert_eq!(db.len(), 2);

    let more = format!("{FILE}\n[networks.green]\nsubnets = [\"10.243.0.0/24\"]\n");
    world.write("weft.toml", &more);
    assert!(world.weft("reload").ok().contains("+ network green"));
    world.write("weft.toml", FILE);
    assert!(world.weft("reload").ok().contains("- network green"));
    assert_eq!((inspect(world, "red"), world.endpoints("db")), (before.clone(), db.clone()));
    world.exec("ann", "ping -c 1 -W 2 10.242.0.9").ok();

    // The file asks for what somebody has made: neither is touched.
    let clash = format!("{more}\n[networks.red]\nsubnets = [\"10.244.0.0/24\"]\n");
    world.write("weft.toml", &clash);
    world.weft("reload").refused(1, &["network red exists already"], "remove it first");
    let overlap = format!("{FILE}\n[networks.pink]\nsubnets = [\"10.242.0.128/25\"]\n");
    world.write("weft.toml", &overlap);
    world.weft("reload").refused(1, &["overlaps", "network red"], "shares no address");
    assert_eq!((inspect(world, "red"), world.endpoints("db")), (before, db));
    let names = world.weft("network ls -f type=custom --format {{.Name}}").ok();
    assert_eq!(names, "blue\nred\n");

    // The file's own cannot be taken away by hand, and do not go from under those who came by hand.
    world.weft("network rm blue").refused(1, &["declared by the file"], "weft reload");
    world.weft("network disconnect blue db").refused(1, &["declared by the file"], "weft reload");
    world.weft("network connect blue ann").ok();
    world.write("weft.toml", "");
    world.weft("reload").refused(1, &["blue", "ann"], "weft stop");
    world.weft("network disconnect blue ann").ok();
    world.weft("reload").ok();
    assert_eq!(world.weft("network ls -f type=custom --format {{.Name}}").ok(), "red\n");
    assert_eq!(world.weft("network prune --force").ok(), "");
}

fn networks_made_by_hand_outlive_an_appliance_of_weft_run_s_own(world: &World) {
    // None is running: one is started for the occasion.
    let id = world.weft("network create --subnet 10.244.0.0/24 red").ok();
    assert!(world.status().is_some_and(|status| status.on_demand));
    let ended = || world.status().is_none().then_some(());
    eventually("it ends when there is nothing to do", ended);
    let ann = world.sandbox("ann", "--network red");
    assert_eq!(world.weft("network ls -q --no-trunc -f name=red").ok(), id);
    let own = world.endpoints("ann")[0].addresses[0].to_string();
    assert_eq!(own, "10.244.0.2/24");
    ann.signal(Signal::TERM);
    assert_eq!(ann.end().code, 143);
    eventually("it ends after its last sandbox", ended);
    assert_eq!(world.weft("network prune --force").ok(), "Deleted Networks:\nred\n\n");
    eventually("it ends when there is nothing left", ended);
    assert_eq!(world.weft("network ls -q -f type=custom").ok(), "");
}

fn many_join_and_leave_at_once(world: &World) {
    const COUNT: usize = 8;
    let _up = world.up();
    let mut web = world.sandbox("web", "");
    for number in 0..COUNT {
        world.weft(&format!("network create --subnet 10.245.{number}.0/24 n{number}")).ok();
    }
    let all = |verb: &str| {
        let started: Vec<Program> =
            (0..COUNT).map(|n| world.start(&format!("network {verb} n{n} web"))).collect();
        started.into_iter().for_each(|program| {
            program.end().ok();
        });
    };
    for _ in 0..3 {
        all("connect");
        let shown = world.exec("web", "ip -br link; ip -br link | wc -l").ok();
        assert!(shown.trim().ends_with(&(COUNT + 2).to_string()), "{shown}");
        all("disconnect");
        world.exec("web", "test $(ip -br link | wc -l) = 2").ok();
    }
    // Whoever comes first, in the end the appliance and the sandbox agree.
    for _ in 0..5 {
        let verbs = ["connect", "disconnect", "connect", "disconnect"];
        let started = verbs.map(|verb| world.start(&format!("network {verb} n0 web")));
        started.into_iter().for_each(|program| drop(program.end()));
    }
    let is_on = world.endpoints("web").len() == 2;
    assert_eq!(world.exec("web", "ip link show eth1").code == 0, is_on);
    assert!(!web.has_ended());
}

fn what_cannot_join_or_leave_is_refused(world: &World) {
    let _up = world.up();
    let _ann = world.sandbox("ann", "");
    let _host = world.sandbox("shared", "--network host");
    let _none = world.sandbox("alone", "--network none");
    world.weft("network create --subnet 10.246.0.0/24 red").ok();
    world.weft("network create --driver host more-host").ok();
    let cases: &[(&str, &[&str], &str)] = &[
        ("connect red nobody", &["No such container: nobody"], "weft ps"),
        ("connect read ann", &["network read not found"], "did you mean \"red\"?"),
        ("connect more-host ann", &["host network"], ""),
        ("connect none ann", &["private (none) mode"], ""),
        ("connect red alone", &["private (none) mode"], ""),
        ("connect red shared", &["sharing network namespace"], ""),
        ("connect --driver-opt a=b red ann", &["unknown driver option \"a\""], ""),
        ("connect --mac-address flub red ann", &["\"flub\" is no MAC address"], ""),
        (
            "connect --driver-opt com.docker.network.endpoint.ifname=eth0 red ann",
            &["has an interface eth0 already"],
            "another name",
        ),
        (
            "connect --driver-opt com.docker.network.endpoint.ifname=lo red ann",
            &["has not joined", "lo"],
            "",
        ),
        ("disconnect red ann", &["not connected to network red"], ""),
    ];
    for (line, words, help) in cases {
        let said = world.weft(&format!("network {line}"));
        if help.is_empty() {
            assert_eq!(said.code, 1, "{said:?}");
            assert!(words.iter().all(|word| said.err.contains(word)), "{said:?}");
        } else {
            said.refused(1, words, help);
        }
    }
    assert_eq!((world.endpoints("ann").len(), world.endpoints("shared").len()), (1, 1));
    world.weft("network rm red more-host").ok();
}

fn a_network_without_addresses_carries_what_its_guests_agree_on(world: &World) {
    let _up = world.up();
    world.weft("network create --ipam-driver null bare").ok();
    let _ann = world.sandbox("ann", "--network bare");
    let _bob = world.sandbox("bob", "");
    world.weft("network connect bare bob").ok();
    world.exec("ann", "ip address add 10.247.0.1/24 dev eth0").ok();
    world.exec("bob", "ip address add 10.247.0.2/24 dev eth1 && ping -c 1 -W 2 10.247.0.1").ok();
    let bare = inspect(world, "bare");
    assert_eq!((&bare["IPAM"]["Driver"], &bare["EnableIPv6"]), (&"null".into(), &false.into()));
}

fn a_sandbox_off_every_network_outlives_its_appliance(world: &World) {
    const BLUE: &str = "[networks.blue]\nsubnets = [\"10.249.0.0/24\"]\n";
    let up = world.up_with(BLUE);
    let mut ann = world.sandbox("ann", "--network blue");
    world.weft("network disconnect blue ann").ok();
    assert_ne!(world.exec("ann", "ip link show eth0").code, 0);
    up.kill();
    let _up = world.up_with(BLUE);
    eventually("ann has come back", || (world.names() == ["ann"]).then_some(()));
    assert_eq!(world.endpoints("ann"), []);
    world.weft("network connect --ip 10.249.0.9 blue ann").ok();
    assert_eq!(world.endpoints("ann")[0].addresses[0].to_string(), "10.249.0.9/24");
    assert!(!ann.has_ended());
}

fn a_program_may_end_while_it_joins(world: &World) {
    let _up = world.up();
    world.weft("network create --subnet 10.248.0.0/24 red").ok();
    for _ in 0..5 {
        let ann = world.sandbox("ann", "");
        let mut joining = world.weft_command("network connect red ann");
        let mut joining = joining.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        ann.signal(Signal::KILL);
        ann.end();
        // It came in time or it did not; it does not hang.
        eventually("the request is answered", || joining.try_wait().unwrap());
        world.wait_until_gone("ann");
    }
    eventually("nobody is left on it", || (world.weft("network rm red").code == 0).then_some(()));
}
