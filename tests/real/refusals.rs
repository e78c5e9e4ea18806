//! What weft says when something is in the way: one line, and one that helps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use crate::support::gate::ClosedTun;
use crate::support::{Program, World, eventually};

as_ordinary!(
    another_user_s_appliance_does_not_answer,
    what_another_user_made_in_a_shared_folder_is_not_trusted,
    a_system_without_user_namespaces_is_explained,
    a_user_may_not_enter_what_is_root_s,
);
as_both!(wrong_networks_names_and_addresses_are_refused, a_place_for_the_socket_that_cannot_be);

/// A user that is neither root nor the test's.
const NOBODY: u32 = 65_534;

const BLUE: &str = "
    [networks.blue]
    subnets = [\"10.201.0.0/24\", \"fd00:201::/64\"]
";

fn wrong_networks_names_and_addresses_are_refused(world: &World) {
    let _up = world.up_with(BLUE);
    let _ann = world.sandbox("ann", "--network blue,ip=10.201.0.5,mac=02:00:00:00:00:05");
    let cases: &[(i32, &str, &[&str], &str)] = &[
        (1, "--network blua", &["unknown network \"blua\""], "did you mean \"blue\"?"),
        (1, "--network mauve", &["unknown network \"mauve\""], "always exist"),
        (1, "--name ann", &["the name ann is taken"], "weft ps"),
        (1, "--name 'a b'", &["\"a b\""], "a name begins with"),
        (1, "--network blue,ip=10.201.0.5", &["10.201.0.5", "taken by", "ann"], "another"),
        (1, "--network blue,ip=10.201.1.5", &["10.201.1.5 is outside"], "choose an address"),
        (1, "--network blue,ip=10.201.0.255", &["10.201.0.255"], "choose another"),
        (1, "--network blue,ip6=fd00:202::5", &["fd00:202::5 is outside"], "choose an address"),
        (1, "--network blue,mac=02:00:00:00:00:05", &["MAC address", "taken"], "another"),
        (1, "--network blue,mac=flub", &["\"flub\" is no MAC address"], ""),
        (1, "--network blue,ifname=much-too-long-a-name", &["cannot name a network device"], "15"),
        (1, "--network blue --network host", &["host", "combined"], ""),
        (
            1,
            "--network blue,ifname=a --network bridge,ifname=a",
            &["two endpoints", "\"a\""],
            "another ifname",
        ),
        (2, "--network blue,ip6=10.201.0.6", &["is no IPv6 address"], ""),
        (2, "--network ,ip=10.201.0.6", &["names no network"], ""),
        (2, "--network blue,colour=red", &["unknown key \"colour\""], "alias and ifname"),
    ];
    for (code, options, words, help) in cases {
        world.weft(&format!("run {options} -- true")).refused(*code, words, help);
    }
    world.weft("exec bob -- true").refused(1, &["bob"], "weft ps");
    assert_eq!(world.names(), ["ann"]);
}

fn a_place_for_the_socket_that_cannot_be(world: &World) {
    let long = world.path(&"x".repeat(120));
    let file = world.write("file", "");
    let inside_a_file = format!("{}/weft.sock", file.display());
    for place in [&*inside_a_file, "/proc/weft/weft.sock"] {
        let said = world.weft(&format!("up --socket {place}"));
        said.refused(1, &["the folder", "cannot be used"], "--socket");
    }
    let said = world.weft(&format!("up --socket {}/weft.sock", long.display()));
    said.refused(1, &["the socket", "cannot be made"], "--socket");
}

fn another_user_s_appliance_does_not_answer(world: &World) {
    let place = world.path("root/weft.sock");
    // The same binary, as root.
    let mut up = std::process::Command::new(world.binary());
    up.arg("up").arg("--socket").arg(&place).env("WEFT_SOCKET", world.socket());
    let _up = Program::start(up);
    eventually("it listens", || place.exists().then_some(()));
    let ps = || {
        let mut command = world.weft_command("ps");
        command.arg("--socket").arg(&place);
        Program::start(command).end()
    };
    ps().refused(1, &["cannot be opened", "denied"], "root");
    // Nor when the folder lets everybody through.
    fs::set_permissions(place.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    ps().refused(1, &["cannot be opened", "denied"], "root");
}

fn what_another_user_made_in_a_shared_folder_is_not_trusted(world: &World) {
    // As in /tmp: somebody made the place first, and lets everybody in.
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let place = shared.join("weft/weft.sock");
    let script = format!(
        "import os, socket\n\
         os.mkdir('{0}'); os.chmod('{0}', 0o777)\n\
         s = socket.socket(socket.AF_UNIX); s.bind('{1}'); os.chmod('{1}', 0o666); s.listen()\n\
         print('up', flush=True)\n\
         while True: s.accept()\n",
        place.parent().unwrap().display(),
        place.display()
    );
    let mut other = std::process::Command::new("python3");
    other.arg("-c").arg(script).env("WEFT_SOCKET", world.socket()).uid(NOBODY).gid(NOBODY);
    let mut other = Program::start(other);
    other.wait_for("up");
    let weft = |line: &str| {
        let mut command = world.weft_command(line);
        command.env("WEFT_SOCKET", &place);
        Program::start(command).end()
    };
    let said = format!("belongs to user {NOBODY}");
    weft("ps").refused(1, &[&said], "--socket");
    weft("run -- true").refused(1, &[&said], "--socket");
    weft(&format!("attach --tap {}", world.ifname())).refused(1, &[&said], "--socket");
    // Nor does a link make the place one's own.
    let link = shared.join("link");
    std::os::unix::fs::symlink(world.path(""), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
    let line = format!("up --socket {}", link.join("weft.sock").display());
    world.weft(&line).refused(1, &[&said], "--socket");
}

mod a_closed_tun_device_is_explained {
    use crate::support::{Who, World};

    #[test]
    fn as_an_ordinary_user() {
        World::run_alone(Who::Ordinary, super::a_closed_tun_device_is_explained);
    }
}

fn a_closed_tun_device_is_explained(world: &World) {
    let _up = world.up_with(BLUE);
    let _closed = ClosedTun::hold();
    let said = world.weft("run --network blue -- true");
    said.refused(1, &["/dev/net/tun", "denied"], "sudo chmod 0666 /dev/net/tun");
    let said = world.weft("run --detach --network blue -- true");
    said.refused(1, &["/dev/net/tun", "denied"], "sudo chmod 0666 /dev/net/tun");
    world.weft("run --network none -- true").ok();
    assert_eq!(world.names(), [""; 0]);
}

fn a_system_without_user_namespaces_is_explained(world: &World) {
    let _up = world.up_with(BLUE);
    // A user namespace has a limit of its own, and one's rights in it can be given up.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv \
                  --bounding-set=-all --inh-caps=-all -- \"$0\" run --network blue -- true";
    let mut command = world.command("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(world.binary());
    let help = "sudo sysctl user.max_user_namespaces=";
    let said = Program::start(command).end();
    said.refused(1, &["the sandbox's namespaces cannot be made"], help);
    assert_eq!(world.names(), [""; 0]);
}

fn a_user_may_not_enter_what_is_root_s(world: &World) {
    let _up = world.up_with(BLUE);
    let namespace = world.namespace("one");
    let said = world.weft(&format!("attach --network blue --netns {}", namespace.name));
    said.refused(1, &["cannot be entered"], "try sudo");
    let said = world.weft(&format!("attach --network blue --tap {}", world.ifname()));
    said.refused(1, &["/dev/net/tun", "permitted"], "try sudo");
    assert_eq!(world.names(), [""; 0]);
}
