//! Addresses from somebody else's program: an IPAM plugin that keeps a ledger, and can be made to
//! fail.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Program, World, eventually, gate};

as_both!(
    a_network_and_its_sandboxes_have_their_addresses_from_a_plugin,
    what_a_user_asks_for_is_asked_of_the_plugin,
    whatever_call_fails_the_user_sees_why_and_nothing_is_left,
    a_plugin_that_dies_and_comes_back_gets_what_is_its_own,
    a_slow_plugin_holds_up_nobody_else,
    addresses_outlive_a_killed_appliance,
    a_file_declares_networks_and_endpoints_with_a_plugin,
);

/// A plugin that runs, in a folder that the appliance's file names.
struct Plugin<'a> {
    world: &'a World,
    program: Option<Program>,
}

impl<'a> Plugin<'a> {
    fn start(world: &'a World) -> Self {
        let folder = world.path("plugins");
        if !folder.exists() {
            fs::create_dir(&folder).unwrap();
            let (user, group) = world.ids();
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        world.write("custom_ipam.py", include_str!("../../examples/custom_ipam.py"));
        world.write("ipam_plugin.py", include_str!("ipam_plugin.py"));
        let mut plugin = Self { world, program: None };
        plugin.misbehave(&json!({}));
        plugin.run();
        plugin
    }

    fn run(&mut self) {
        let mut command = self.world.command("python3");
        let at = |name: &str| self.world.path(name);
        command.args(["ipam_plugin.py", "custom_ipam.py"].map(at));
        command.args([self.socket(), at("ledger.json"), at("faults.json"), at("calls.log")]);
        let mut program = Program::start(command);
        program.wait_for("serving");
        self.program = Some(program);
    }

    fn socket(&self) -> PathBuf {
        self.world.path("plugins/custom-ipam.sock")
    }

    /// Kills it; its socket stays.
    fn kill(&mut self) {
        let mut program = self.program.take().unwrap();
        program.signal(Signal::KILL);
        eventually("the plugin is dead", || program.has_ended().then_some(()));
    }

    /// Says how calls are answered from now on.
    fn misbehave(&self, faults: &Value) {
        let new = self.world.write("faults.new", &faults.to_string());
        fs::rename(new, self.world.path("faults.json")).unwrap();
    }

    fn behave(&self) {
        self.misbehave(&json!({}));
    }

    /// What it has given and not got back: the addresses of each subnet with who has them.
    fn ledger(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let Ok(text) = fs::read_to_string(self.world.path("ledger.json")) else {
            return BTreeMap::new();
        };
        let pools: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        let read = |pool: &Value| {
            let subnet = pool["subnet"].as_str().unwrap().to_owned();
            (subnet, serde_json::from_value(pool["taken"].clone()).unwrap())
        };
        pools.values().map(read).collect()
    }

    /// Who has the addresses of a subnet.
    fn taken(&self, subnet: &str) -> Vec<(String, String)> {
        self.ledger().remove(subnet).unwrap_or_default().into_iter().collect()
    }

    #[track_caller]
    fn is_even(&self) {
        eventually("the plugin has everything back", || self.ledger().is_empty().then_some(()));
    }

    /// How often it was asked something.
    fn count(&self, call: &str) -> usize {
        let log = fs::read_to_string(self.world.path("calls.log")).unwrap_or_default();
        log.lines().filter(|line| *line == call).count()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(at, who)| ((*at).to_owned(), (*who).to_owned())).collect()
}

impl World {
    /// The file of an appliance that finds the plugin.
    fn with_plugins(&self, more: &str) -> String {
        let (plugins, state) = (self.path("plugins"), self.path("state"));
        format!("[store]\nfolder = {state:?}\n[ipam]\nplugin-dirs = [{plugins:?}]\n{more}")
    }
}

fn a_network_and_its_sandboxes_have_their_addresses_from_a_plugin(world: &World) {
    let plugin = Plugin::start(world);
    let _up = world.up_with(&world.with_plugins(""));
    let create = "network create --driver bridge --ipam-driver custom-ipam \
                  --subnet 192.168.10.0/24 my-custom-network";
    if gate::has("docker") {
        let id = world.docker(create).ok();
        assert_eq!(id.trim().len(), 64, "{id}");
    } else {
        world.weft(create).ok();
    }
    assert_eq!(plugin.taken("192.168.10.0/24"), pairs(&[("192.168.10.1", "gateway")]));
    let inspected = world.weft("network inspect my-custom-network").ok();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let ipam = json!({
        "Driver": "custom-ipam",
        "Options": {},
        "Config": [{ "Subnet": "192.168.10.0/24", "Gateway": "192.168.10.1" }],
    });
    assert_eq!(inspected[0]["IPAM"], ipam);

    let ann = world.sandbox("ann", "--network my-custom-network");
    let bob = world.sandbox("bob", "--network my-custom-network");
    assert_eq!(world.endpoint("ann").addresses[0].to_string(), "192.168.10.254/24");
    assert_eq!(world.endpoint("bob").addresses[0].to_string(), "192.168.10.253/24");
    world.weft("exec ann -- ping -c 1 -W 5 bob").ok();
    let expected =
        [("192.168.10.1", "gateway"), ("192.168.10.253", "bob"), ("192.168.10.254", "ann")];
    assert_eq!(plugin.taken("192.168.10.0/24"), pairs(&expected));
    world.weft("network rm my-custom-network").refused(
        1,
        &["has active endpoints: ann, bob"],
        "take its endpoints out of it first",
    );
    drop(ann);
    let expected = [("192.168.10.1", "gateway"), ("192.168.10.253", "bob")];
    eventually("ann's address is back", || {
        (plugin.taken("192.168.10.0/24") == pairs(&expected)).then_some(())
    });

    // Another network, of the plugin's choice; a sandbox that runs joins it and leaves.
    world.weft("network create --ipam-driver custom-ipam other").ok();
    world.weft("network connect other bob").ok();
    let expected = [("10.200.0.1", "gateway"), ("10.200.0.254", "bob")];
    assert_eq!(plugin.taken("10.200.0.0/24"), pairs(&expected));
    assert_eq!(world.endpoints("bob")[1].addresses[0].to_string(), "10.200.0.254/24");
    world.weft("network disconnect other bob").ok();
    assert_eq!(plugin.taken("10.200.0.0/24"), pairs(&expected[..1]));
    drop(bob);
    world.wait_until_gone("bob");
    // The pool is free as soon as the command is done.
    for _ in 0..3 {
        world.weft("network rm my-custom-network").ok();
        world.weft(create).ok();
    }
    world.weft("network prune --force").ok();
    plugin.is_even();
    assert_eq!(plugin.count("Plugin.Activate"), 1);
}

fn what_a_user_asks_for_is_asked_of_the_plugin(world: &World) {
    let plugin = Plugin::start(world);
    let _up = world.up_with(&world.with_plugins(""));
    world
        .weft(
            "network create --ipam-driver custom-ipam --subnet 10.231.0.0/24 \
             --ip-range 10.231.0.128/25 --gateway 10.231.0.9 --aux-address printer=10.231.0.7 \
             --subnet fd00:231::/64 --ipv6 --ipam-opt tenant=blue blue",
        )
        .ok();
    let inspected = world.weft("network inspect blue").ok();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let ipam = json!({
        "Driver": "custom-ipam",
        "Options": { "tenant": "blue" },
        "Config": [
            {
                "Subnet": "10.231.0.0/24", "IPRange": "10.231.0.128/25", "Gateway": "10.231.0.9",
                "AuxiliaryAddresses": { "printer": "10.231.0.7" },
            },
            { "Subnet": "fd00:231::/64", "Gateway": "fd00:231::1" },
        ],
    });
    assert_eq!(inspected[0]["IPAM"], ipam);
    let given = [("10.231.0.7", ""), ("10.231.0.9", "gateway")];
    assert_eq!(plugin.taken("10.231.0.0/24"), pairs(&given));

    let ann = world.sandbox("ann", "--network blue,ip=10.231.0.77,ip6=fd00:231::77");
    let given = [("10.231.0.7", ""), ("10.231.0.77", "ann"), ("10.231.0.9", "gateway")];
    assert_eq!(plugin.taken("10.231.0.0/24"), pairs(&given));
    let given = [("fd00:231::1", "gateway"), ("fd00:231::77", "ann")];
    assert_eq!(plugin.taken("fd00:231::/64"), pairs(&given));
    for (options, words) in [
        ("ip=10.231.0.77", "remote: address 10.231.0.77 in use"),
        ("ip=10.231.0.7", "remote: address 10.231.0.7 in use"),
        ("ip=10.99.0.1", "address 10.99.0.1 is outside network blue"),
    ] {
        let said = world.weft(&format!("run --network blue,{options} -- true"));
        assert_eq!(said.code, 1, "{said:#?}");
        assert!(said.err.contains(words), "{said:#?}");
    }
    // A pool that the plugin has, and one that only weft has.
    let create = "network create --ipam-driver custom-ipam --subnet";
    world.weft(&format!("{create} 10.231.0.0/25 red")).refused(
        1,
        &["remote: 10.231.0.0/25 overlaps 10.231.0.0/24"],
        "this is the answer of the IPAM driver custom-ipam to IpamDriver.RequestPool",
    );
    world.weft("network create --subnet 10.232.0.0/24 green").ok();
    let said = world.weft(&format!("{create} 10.232.0.0/24 red"));
    assert!(said.err.contains("Pool overlaps with other one"), "{said:#?}");
    assert_eq!(plugin.ledger().len(), 2, "what was of no use went back");
    drop(ann);
    world.wait_until_gone("ann");
    world.weft("network rm blue").ok();
    plugin.is_even();
}

fn whatever_call_fails_the_user_sees_why_and_nothing_is_left(world: &World) {
    let plugin = Plugin::start(world);
    let _up = world.up_with(&world.with_plugins(""));
    let create = "network create --ipam-driver custom-ipam --subnet 10.231.0.0/24 \
                  --aux-address printer=10.231.0.7";
    let says = |text: &str| json!({ "raw": json!({ "Error": text }).to_string() });
    let after = |calls: u32, mut fault: Value| {
        fault["after"] = calls.into();
        fault
    };
    let cases = [
        ("Plugin.Activate", json!({ "raw": "{}" }), "does not implement IpamDriver"),
        ("Plugin.Activate", json!({ "raw": "[", "status": 500 }), "Plugin.Activate: ["),
        ("IpamDriver.GetCapabilities", says("no idea"), "remote: no idea"),
        ("IpamDriver.GetDefaultAddressSpaces", says("no space"), "remote: no space"),
        ("IpamDriver.RequestPool", says("no pool for you"), "remote: no pool for you"),
        ("IpamDriver.RequestPool", json!({ "drop": true }), "IpamDriver.RequestPool: the answer"),
        (
            "IpamDriver.RequestAddress",
            says("no luck"),
            "failed to allocate gateway (): remote: no luck",
        ),
        (
            "IpamDriver.RequestAddress",
            after(1, says("taken")),
            "failed to allocate secondary ip address (printer:10.231.0.7): remote: taken",
        ),
        (
            "IpamDriver.RequestAddress",
            json!({ "raw": "{\"Address\": \"10.99.0.1/24\"}" }),
            "address 10.99.0.1 is outside pool 10.231.0.0/24",
        ),
        ("IpamDriver.RequestAddress", json!({ "raw": "what?" }), "is not what it should be"),
    ];
    for (call, fault, words) in cases {
        plugin.misbehave(&json!({ call: fault }));
        let said = world.weft(&format!("{create} blue"));
        assert!(said.code == 1 && said.err.contains(words), "{call} {fault}: {said:#?}");
        assert!(said.err.contains("help: "), "{said:#?}");
        plugin.is_even();
        assert!(world.weft("network inspect blue").code == 1);
    }

    plugin.behave();
    world.weft(&format!("{create} blue")).ok();
    let given = plugin.ledger();
    let cases = [
        (says("not today"), "remote: not today"),
        (json!({ "raw": "boom", "status": 500 }), "IpamDriver.RequestAddress: boom"),
        (json!({ "raw": "{\"Address\": \"\"}" }), "no address returned"),
        // The gateway's.
        (json!({ "raw": "{\"Address\": \"10.231.0.1/24\"}" }), "10.231.0.1 was given, and"),
    ];
    for (fault, words) in cases {
        plugin.misbehave(&json!({ "IpamDriver.RequestAddress": fault }));
        let said = world.weft("run --network blue -- true");
        assert!(said.code == 1 && said.err.contains(words), "{fault}: {said:#?}");
        assert_eq!(plugin.ledger(), given, "{fault}");
    }
    // What it does not want back is gone all the same, and it is told again.
    plugin.misbehave(&json!({ "IpamDriver.ReleaseAddress": says("keep it") }));
    world.weft("run --network blue -- true").ok();
    plugin.misbehave(&json!({ "IpamDriver.ReleasePool": says("keep it") }));
    world.weft("network rm blue").ok();
    plugin.behave();
    plugin.is_even();
}

fn a_plugin_that_dies_and_comes_back_gets_what_is_its_own(world: &World) {
    let mut plugin = Plugin::start(world);
    let _up = world.up_with(&world.with_plugins(""));
    let create = "network create --ipam-driver custom-ipam --subnet 10.231.0.0/24 blue";
    world.weft(create).ok();
    let ann = world.sandbox("ann", "--network blue");
    let bob = world.sandbox("bob", "--network blue");
    plugin.kill();
    world.weft("exec ann -- ping -c 1 -W 5 bob").ok();
    drop(ann);
    world.wait_until_gone("ann");
    drop(bob);
    world.wait_until_gone("bob");
    world.weft("network rm blue").ok();
    assert_eq!(plugin.ledger().len(), 1);
    plugin.run();
    // It has everything back before it is asked for the same again.
    world.weft(create).ok();
    let ann = world.sandbox("ann", "--network blue,ip=10.231.0.254");
    // Another one that keeps nothing: what runs goes on.
    plugin.kill();
    fs::remove_file(world.path("ledger.json")).unwrap();
    plugin.run();
    let said = world.weft("run --network blue -- true");
    let words = "remote: there is no pool local/10.231.0.0/24";
    assert!(said.code == 1 && said.err.contains(words), "{said:#?}");
    drop(ann);
    world.wait_until_gone("ann");
    world.weft("network rm blue").ok();
    plugin.is_even();
}

fn a_slow_plugin_holds_up_nobody_else(world: &World) {
    let plugin = Plugin::start(world);
    let _up = world.up_with(&world.with_plugins(""));
    world.weft("network create --ipam-driver custom-ipam --subnet 10.231.0.0/24 blue").ok();
    let slow = json!({ "delay": 12 });
    plugin.misbehave(&json!({
        "IpamDriver.RequestPool": slow, "IpamDriver.RequestAddress": slow,
    }));
    let begun = Instant::now();
    let create = "network create --ipam-driver custom-ipam --subnet 10.232.0.0/24 red";
    let red = world.start(create);
    // More than a sandbox waits for an appliance that says nothing.
    let ann = world.start("run --name ann --network blue -- sleep 1001");
    // One that does not wait.
    let bob = world.start("run --name bob --network blue -- sleep 1001");
    eventually("all is asked for", || {
        let asked = plugin.count("IpamDriver.RequestPool") == 2
            && plugin.count("IpamDriver.RequestAddress") == 3;
        asked.then_some(())
    });
    drop(bob);
    world.weft("network ls").ok();
    world.weft("network create green").ok();
    world.weft("run --network green -- true").ok();
    world.weft("network rm green").ok();
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    let address = world.endpoint("ann").addresses[0].to_string();
    assert!(["10.231.0.254/24", "10.231.0.253/24"].contains(&&*address), "{address}");
    assert_eq!(red.end().ok().trim().len(), 64);
    assert!(begun.elapsed() > Duration::from_secs(12));
    eventually("bob's address is back", || {
        (plugin.taken("10.231.0.0/24").len() == 2).then_some(())
    });
    drop(ann);
    world.wait_until_gone("ann");
    world.weft("network rm blue red").ok();
    plugin.is_even();
}

fn addresses_outlive_a_killed_appliance(world: &World) {
    let mut plugin = Plugin::start(world);
    let file = world.with_plugins("");
    let up = world.up_with(&file);
    world.weft("network create --ipam-driver custom-ipam --subnet 10.231.0.0/24 blue").ok();
    let ann = world.sandbox("ann", "--network blue");
    let bob = world.sandbox("bob", "--network blue");
    let given = plugin.ledger();
    up.kill();
    // It goes while there is nobody to tell the plugin.
    drop(bob);
    let up = world.up_with(&file);
    assert_eq!(world.endpoint("ann").addresses[0].to_string(), "10.231.0.254/24");
    assert_eq!(plugin.ledger(), given, "ann has kept hers, and bob may come back");
    let given = [("10.231.0.1", "gateway"), ("10.231.0.254", "ann")];
    eventually("bob's address is back", || {
        (plugin.taken("10.231.0.0/24") == pairs(&given)).then_some(())
    });

    // One that is away when something goes, and still when the next appliance starts.
    plugin.kill();
    drop(ann);
    world.wait_until_gone("ann");
    world.weft("network rm blue").ok();
    up.kill();
    let up = world.up_with(&file);
    plugin.run();
    plugin.is_even();

    // One that keeps nothing, and says so, is asked for everything again.
    up.kill();
    plugin.kill();
    plugin.misbehave(&json!({ "capabilities": { "RequiresRequestReplay": true } }));
    plugin.run();
    let up = world.up_with(&file);
    let create = "network create --ipam-driver custom-ipam --subnet 10.231.0.0/24 \
                  --aux-address printer=10.231.0.7 blue";
    world.weft(create).ok();
    let ann = world.sandbox("ann", "--network blue");
    let given = plugin.ledger();
    up.kill();
    plugin.kill();
    fs::remove_file(world.path("ledger.json")).unwrap();
    plugin.run();
    let _up = world.up_with(&file);
    world.weft("run --network blue -- true").ok();
    eventually("it knows everything again", || (plugin.ledger() == given).then_some(()));
    drop(ann);
    world.wait_until_gone("ann");
    world.weft("network rm blue").ok();
    plugin.is_even();
}

fn a_file_declares_networks_and_endpoints_with_a_plugin(world: &World) {
    let plugin = Plugin::start(world);
    let file = |subnet: &str, more: &str| {
        let networks = format!(
            "
            [networks.blue]
            subnets = [\"{subnet}\"]
            ipam = {{ driver = \"custom-ipam\", options = {{ tenant = \"blue\" }} }}
            [networks.red]
            ipam = \"custom-ipam\"
            [endpoints.web]
            network = \"blue\"
            command = [\"sleep\", \"1001\"]
            {more}
            "
        );
        world.with_plugins(&networks)
    };
    let up = world.up_with(&file("10.231.0.0/24", ""));
    assert_eq!(world.endpoint("web").addresses[0].to_string(), "10.231.0.254/24");
    let given = [("10.231.0.1", "gateway"), ("10.231.0.254", "web")];
    assert_eq!(plugin.taken("10.231.0.0/24"), pairs(&given));
    assert_eq!(plugin.taken("10.200.0.0/24"), pairs(&[("10.200.0.1", "gateway")]));

    // An endpoint more; then the network anew, on the same addresses, which go back first.
    let db =
        "[endpoints.db]\nnetwork = \"blue\"\nip = \"10.231.0.7\"\ncommand = [\"sleep\", \"1002\"]";
    world.write("weft.toml", &file("10.231.0.0/24", db));
    world.weft("reload").ok();
    assert_eq!(plugin.taken("10.231.0.0/24").len(), 3);
    let anew = file("10.231.0.0/24", db).replace("\"blue\" }", "\"green\" }");
    world.write("weft.toml", &anew);
    let said = world.weft("reload").ok();
    assert!(said.contains("- network blue") && said.contains("+ network blue"), "{said}");
    let given = [("10.231.0.1", "gateway"), ("10.231.0.254", "web"), ("10.231.0.7", "db")];
    assert_eq!(plugin.taken("10.231.0.0/24"), pairs(&given));
    assert_eq!(world.endpoint("db").addresses[0].to_string(), "10.231.0.7/24");

    // One that fails leaves everything as it was.
    plugin.misbehave(&json!({
        "IpamDriver.RequestPool": { "raw": json!({ "Error": "not now" }).to_string() },
    }));
    let more = format!("{db}\n[networks.green]\nipam = \"custom-ipam\"");
    world.write("weft.toml", &file("10.231.0.0/24", &more).replace("\"blue\" }", "\"green\" }"));
    world.weft("reload").refused(1, &["remote: not now"], "custom-ipam");
    assert_eq!(plugin.taken("10.231.0.0/24"), pairs(&given));
    plugin.behave();

    // The next appliance has the same addresses, without asking.
    let asked = plugin.count("IpamDriver.RequestAddress");
    world.write("weft.toml", &anew);
    up.kill();
    let _up = world.up_with(&anew);
    assert_eq!(world.endpoint("web").addresses[0].to_string(), "10.231.0.254/24");
    assert_eq!(plugin.count("IpamDriver.RequestAddress"), asked);
    world.write("weft.toml", &world.with_plugins(""));
    world.weft("reload").ok();
    plugin.is_even();
}
