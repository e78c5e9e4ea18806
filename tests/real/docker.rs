//! Docker's own clients at weft's socket: the docker CLI and Docker's library for Python, as they
//! come, with no engine anywhere.

use std::process::Command;

use crate::support::program::Said;
use crate::support::{Program, World, eventually, gate};

as_both!(
    the_docker_cli_makes_shows_and_removes_networks,
    the_docker_cli_is_refused_as_the_engine_refuses,
    the_docker_cli_connects_and_disconnects_what_runs,
    dockers_library_for_python_does_the_same,
);

impl World {
    /// Runs the docker CLI to its end.
    #[track_caller]
    pub fn docker(&self, line: &str) -> Said {
        let mut command = self.with_docker_host("docker");
        command.args(crate::support::world::words(line));
        Program::start(command).end()
    }

    fn with_docker_host(&self, program: &str) -> Command {
        let mut command = self.command(program);
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.path("docker"));
        command
    }
}

/// Sees that the CLI failed as it does when the engine refuses.
#[track_caller]
fn refused(said: &Said, words: &str) {
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.err.starts_with("Error response from daemon: "), "{said:#?}");
    assert!(said.err.contains(words), "no {words:?} in {said:#?}");
}

fn the_docker_cli_makes_shows_and_removes_networks(world: &World) {
    if !gate::has("docker") {
        return;
    }
    let _up = world.up();
    let lines = world.docker("network ls").ok();
    let named: Vec<&str> =
        lines.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(named, ["bridge", "host", "none"], "{lines}");
    let id = world.docker("network create --driver bridge my-bridge-network").ok();
    assert_eq!(id.trim().len(), 64, "{id}");
    for line in [
        "--driver bridge --subnet 192.168.1.0/24 my_network",
        "--driver host my-host-network",
        "--driver none my-none-network",
        "--ipam-driver null bare",
        "--subnet 10.221.0.0/24 --subnet fd00:221::/64 --ipv6 --ip-range 10.221.0.128/25 \
         --gateway 10.221.0.254 --aux-address printer=10.221.0.130 --internal --attachable \
         --label tier=back -o isolated=true -o com.docker.network.driver.mtu=1400 full",
    ] {
        world.docker(&format!("network create {line}")).ok();
    }
    let full = world.docker("network inspect full").ok();
    let full: serde_json::Value = serde_json::from_str(&full).unwrap();
    let full = &full[0];
    let config = serde_json::json!([
        {
            "Subnet": "10.221.0.0/24", "IPRange": "10.221.0.128/25", "Gateway": "10.221.0.254",
            "AuxiliaryAddresses": { "printer": "10.221.0.130" },
        },
        { "Subnet": "fd00:221::/64", "Gateway": "fd00:221::1" },
    ]);
    assert_eq!(full["IPAM"]["Config"], config);
    let options = serde_json::json!({
        "isolated": "true", "com.docker.network.driver.mtu": "1400",
    });
    assert_eq!(full["Options"], options);
    assert_eq!(full["Labels"], serde_json::json!({ "tier": "back" }));
    for field in ["EnableIPv6", "Internal", "Attachable"] {
        assert_eq!(full[field], true, "{field}");
    }
    for (options, expected) in [
        ("-f name=my", "my-bridge-network my-host-network my-none-network my_network"),
        ("-f name=^my_network$", "my_network"),
        ("-f name=^my[-_].*ge-", "my-bridge-network"),
        ("-f driver=host", "host my-host-network"),
        ("-f driver=null -f type=custom", "my-none-network"),
        ("-f type=builtin", "bridge host none"),
        ("-f label=tier=back", "full"),
        ("-f label=tier=front", ""),
        (&format!("-f id={}", &id[..12]), "my-bridge-network"),
        ("-f scope=swarm", ""),
    ] {
        let said = world.docker(&format!("network ls {options} --format {{{{.Name}}}}")).ok();
        assert_eq!(said.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{options}");
    }
    world.docker(&format!("network rm {} my-host-network", &id[..12])).ok();
    world.docker("network prune --force --filter label!=tier").ok();
    let left = world.docker("network ls -f type=custom --format {{.Name}}").ok();
    assert_eq!(left, "full\n");
    world.docker("network rm full").ok();
    // The same by weft's own verbs.
    let id = world.weft("network create --subnet 10.222.0.0/24 blue").ok();
    assert_eq!(world.weft("network ls -q --no-trunc -f name=blue").ok(), id);
    let shown = world.weft("network ls -f type=custom").ok();
    let docker = world.docker("network ls -f type=custom").ok();
    assert_eq!(shown, docker);
    assert_eq!(world.weft("network rm blue").ok(), "blue\n");
    world.weft("network rm blue").refused(1, &["network blue not found"], "weft network ls");
    world.weft("network rm --force blue").ok();
}

fn the_docker_cli_is_refused_as_the_engine_refuses(world: &World) {
    if !gate::has("docker") {
        return;
    }
    let _up = world.up_with(
        "
        [networks.declared]
        subnets = [\"10.224.0.0/24\"]
        ",
    );
    world.docker("network create --subnet 10.223.0.0/24 blue").ok();
    let _web = world.sandbox("web", "--network blue,ip=10.223.0.7");
    let _ann = world.sandbox("ann", "");
    for (line, words) in [
        ("create blue", "network with name blue already exists"),
        ("create declared", "network with name declared already exists"),
        (
            "create --subnet 10.223.0.128/25 red",
            "Pool overlaps with other one on this address space",
        ),
        ("create --subnet 10.0.0.1/24 red", "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
        ("create bridge", "operation is not permitted on predefined bridge network"),
        ("create -d brige red", "plugin \"brige\" not found"),
        ("create -d overlay red", "driver overlay is not in this version"),
        ("create --ipam-driver a/b red", "plugin \"a/b\" not found"),
        ("create -o colour=red red", "unknown option \"colour\""),
        ("rm bridge", "bridge is a pre-defined network and cannot be removed"),
        ("rm blue", "error while removing network: network blue id "),
        ("rm declared", "network declared is declared by the file"),
        ("rm red", "network red not found"),
        ("connect blue web", "endpoint with name web already exists in network blue"),
        ("connect --ip 10.223.0.7 blue ann", "Address already in use"),
        ("connect --ip 10.9.9.9 blue ann", "no configured subnet contains IP address 10.9.9.9"),
        ("connect red ann", "network red not found"),
        ("connect blue bob", "No such container: bob"),
        ("connect host ann", "host network"),
        ("disconnect blue ann", "container ann is not connected to network blue"),
    ] {
        refused(&world.docker(&format!("network {line}")), words);
    }
    let said = world.docker("network inspect red");
    assert_eq!((said.code, said.out.trim()), (1, "[]"), "{said:?}");
    assert!(said.err.contains("network red not found"), "{said:?}");
    let said = world.docker("network ls -f colour=red");
    refused(&said, "invalid filter 'colour'");
    assert_eq!(world.docker("network ls -q -f type=custom").ok().lines().count(), 2);
}

fn the_docker_cli_connects_and_disconnects_what_runs(world: &World) {
    if !gate::has("docker") {
        return;
    }
    let up = world.up_with(
        "
        [networks.back]
        subnets = [\"10.225.0.0/24\"]
        [networks.front]
        subnets = [\"10.226.0.0/24\"]
        ",
    );
    let mut web = world.sandbox("web", "--network front");
    let _db = world.sandbox("db", "--network back,ip=10.225.0.9");
    assert_ne!(world.exec("web", "ping -c 1 -W 1 10.225.0.9").code, 0);
    world.docker("network connect --ip 10.225.0.80 --alias www back web").ok();
    world.exec("web", "ip -br address show eth1 | grep 10.225.0.80/24").ok();
    world.exec("web", "ping -c 1 -W 2 10.225.0.9").ok();
    eventually("names follow on both sides", || {
        let web = world.exec("web", "getent hosts db").code == 0;
        (web && world.exec("db", "getent hosts www").code == 0).then_some(())
    });
    let names = world.docker("inspect --format '{{json .NetworkSettings.Networks}}' web").ok();
    assert!(names.contains("10.225.0.80") && names.contains("\"front\""), "{names}");

    // What was connected is handed over with the rest.
    let before = world.endpoints("web");
    assert_eq!(before.len(), 2);
    up.kill();
    let _up = world.up_with(
        "
        [networks.back]
        subnets = [\"10.225.0.0/24\"]
        [networks.front]
        subnets = [\"10.226.0.0/24\"]
        ",
    );
    eventually("both have come back", || (world.ps().len() == 2).then_some(()));
    assert_eq!(world.endpoints("web"), before);
    eventually("web reaches db again", || {
        (world.exec("web", "ping -c 1 -W 1 10.225.0.9").code == 0).then_some(())
    });
    eventually("db knows www again", || {
        (world.exec("db", "getent hosts www").code == 0).then_some(())
    });

    // Away and back at once, under the same name.
    for _ in 0..5 {
        world.docker("network disconnect back web").ok();
        assert_ne!(world.exec("web", "ip link show eth1").code, 0);
        world.docker("network connect back web").ok();
        world.exec("web", "ip -br link show eth1").ok();
    }
    world.docker("network disconnect --force back web").ok();
    assert_eq!(world.endpoints("web").len(), 1);
    eventually("db has forgotten www", || {
        (world.exec("db", "getent hosts www || getent hosts web").code != 0).then_some(())
    });
    // Off every network, and on one again.
    world.docker("network disconnect front web").ok();
    world.docker("network connect back web").ok();
    world.exec("web", "ip -br link show eth0 && ping -c 1 -W 2 10.225.0.9").ok();
    assert!(!web.has_ended());
}

const PYTHON: &str = r#"
import docker, sys
from docker.errors import APIError, NotFound
client = docker.from_env()
assert client.ping()
config = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(
    subnet="10.227.0.0/24", gateway="10.227.0.1", aux_addresses={"printer": "10.227.0.9"})])
blue = client.networks.create("blue", driver="bridge", ipam=config, labels={"tier": "back"},
                              internal=True, check_duplicate=True)
assert blue.name == "blue" and len(blue.id) == 64
assert blue.attrs["IPAM"]["Config"][0]["Subnet"] == "10.227.0.0/24", blue.attrs
assert [n.name for n in client.networks.list(names=["blue"])] == ["blue"]
assert [n.name for n in client.networks.list(filters={"label": "tier=back"})] == ["blue"]
assert client.networks.get(blue.short_id).id == blue.id
for call, status in [
    (lambda: client.networks.create("blue", check_duplicate=True), 409),
    (lambda: client.networks.create("red", ipam=config), 403),
    (lambda: client.networks.get("host").remove(), 403),
    (lambda: client.networks.get("nowhere"), 404),
    (lambda: client.networks.create("red", driver="brige"), 404),
    (lambda: client.networks.create("red", options={"colour": "red"}), 400),
    (lambda: client.networks.create("red", scope="swarm"), 403),
    (lambda: client.networks.list(filters={"dangling": "maybe"}), 400),
    (lambda: client.containers.get("nobody"), 404),
]:
    try:
        call()
    except APIError as error:
        assert error.response.status_code == status, (error, status)
    else:
        sys.exit("was not refused: %d" % status)
config = docker.types.IPAMConfig(pool_configs=[
    docker.types.IPAMPool(subnet="fd00:228::/64"),
    docker.types.IPAMPool(subnet="10.228.0.0/24", iprange="10.228.0.128/25")])
six = client.networks.create("six", driver="bridge", ipam=config, enable_ipv6=True,
                             attachable=True, scope="local", labels={"tier": ""},
                             options={"com.docker.network.driver.mtu": "1400"})
assert six.attrs["EnableIPv6"] and six.attrs["Attachable"], six.attrs
assert [c["Subnet"] for c in six.attrs["IPAM"]["Config"]] == ["10.228.0.0/24", "fd00:228::/64"]
assert six.attrs["IPAM"]["Config"][0]["IPRange"] == "10.228.0.128/25", six.attrs
for filters, names in [
    ({"driver": "null"}, ["none"]),
    ({"type": "custom"}, ["blue", "six"]),
    ({"name": "^(six|host)$"}, ["host", "six"]),
    ({"label": ["tier", "tier=back"]}, ["blue"]),
    ({"dangling": True, "label": "tier"}, ["blue", "six"]),
]:
    assert [n.name for n in client.networks.list(filters=filters)] == names, filters
web = client.containers.get("web")
for ask, status in [
    ({"ipv4_address": "10.228.0.1"}, 403),
    ({"ipv4_address": "10.229.0.1"}, 400),
    ({"ipv6_address": "fd00:229::1"}, 400),
    ({"links": [("a", "b")]}, 400),
]:
    try:
        six.connect(web, **ask)
    except APIError as error:
        assert error.response.status_code == status, (error, status)
    else:
        sys.exit("was not refused: %s" % ask)
six.connect(web, ipv6_address="fd00:228::77")
try:
    six.connect(web)
except APIError as error:
    assert error.response.status_code == 403, error
else:
    sys.exit("joined twice")
web.reload()
settings = web.attrs["NetworkSettings"]["Networks"]["six"]
assert settings["GlobalIPv6Address"] == "fd00:228::77", settings
assert settings["IPAddress"] == "10.228.0.128", settings
six.disconnect(web, force=True)
try:
    six.disconnect(web)
except APIError as error:
    assert error.response.status_code == 403, error
else:
    sys.exit("left twice")
six.remove()
blue.connect(web, ipv4_address="10.227.0.80", aliases=["www"])
blue.reload()
assert [c.name for c in blue.containers] == ["web"]
web.reload()
assert web.attrs["NetworkSettings"]["Networks"]["blue"]["IPAddress"] == "10.227.0.80", web.attrs
assert [c.name for c in client.containers.list()] == ["web"]
try:
    blue.remove()
except APIError as error:
    assert error.response.status_code == 403, error
else:
    sys.exit("a network in use was removed")
blue.disconnect(web)
blue.remove()
client.networks.create("a")
client.networks.create("b", labels={"keep": ""})
assert client.networks.prune(filters={"label!": "keep"})["NetworksDeleted"] == ["a"]
assert client.networks.prune(filters={"until": "1h"})["NetworksDeleted"] == []
assert client.networks.prune()["NetworksDeleted"] == ["b"]
print("done")
"#;

fn dockers_library_for_python_does_the_same(world: &World) {
    if !gate::has_python_module("docker") {
        return;
    }
    let _up = world.up();
    let _web = world.sandbox("web", "");
    let mut command = world.with_docker_host("python3");
    command.args(["-c", PYTHON]);
    assert_eq!(Program::start(command).end().ok(), "done\n");
}
