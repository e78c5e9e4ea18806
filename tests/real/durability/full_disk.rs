//! A disk without room: what is new is refused, what is there goes on, and when there is room again
//! nobody has to start anything anew.

use std::fs;

use super::state::{members, networks};
use crate::support::{Program, World, eventually};

as_both!(a_full_disk_refuses_what_is_new_and_keeps_what_is_there);

const FILE: &str = "[networks.red]\nsubnets = [\"10.221.0.0/24\"]\n";

/// A small file system of a test's own, where appliances can have their state.
struct Cramped<'a> {
    world: &'a World,
    holder: Program,
    place: String,
}

impl<'a> Cramped<'a> {
    /// Mounts one in namespaces of its own: an ordinary user is nobody's administrator elsewhere.
    fn mount(world: &'a World) -> Self {
        let place = world.path("small");
        fs::create_dir(&place).unwrap();
        world.give(&place);
        let place = place.display().to_string();
        let script = "mount -t tmpfs -o size=512k,mode=700 weftt-small \"$1\" && echo mounted && \
                      exec sleep infinity";
        let mut command = world.command("unshare");
        if world.ids().0 != 0 {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", script, "sh", &place]);
        let mut holder = Program::start(command);
        holder.wait_for("mounted");
        Self { world, holder, place }
    }

    /// Starts a program where the file system is.
    fn start(&self, line: &str) -> Program {
        let pid = self.holder.pid().to_string();
        let mut command = self.world.command("nsenter");
        command.args(["--target", &pid, "--mount"]);
        if self.world.ids().0 != 0 {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["sh", "-c", &format!("exec {line}")]);
        Program::start(command)
    }

    /// A line that starts an appliance with its state in a folder there.
    fn up(&self, folder: &str) -> String {
        let file = self.world.path("weft.toml");
        let weft = self.world.binary();
        format!("{} up {} --state {}/{folder}", weft.display(), file.display(), self.place)
    }

    fn fill(&self) {
        let said = self.start(&format!("dd if=/dev/zero of={}/filler bs=4k", self.place)).end();
        assert!(said.err.contains("No space left"), "{said:#?}");
    }

    fn make_room(&self) {
        self.start(&format!("rm {}/filler", self.place)).end().ok();
    }
}

#[track_caller]
fn reaches(world: &World, from: &str, to: &str) {
    let address = world.endpoint(to).addresses[0].ip();
    world.exec(from, &format!("ping -c 2 -i 0.1 -W 2 {address}")).ok();
}

fn names(members: Vec<(String, String)>) -> Vec<String> {
    members.into_iter().map(|(name, _)| name).collect()
}

#[track_caller]
fn what_is_new_is_refused(world: &World) {
    let listed = networks(world);
    let before = (members(world, "red"), world.names(), world.ports().len());
    let lines = [
        "network create blue",
        "network create --subnet 10.222.0.0/24 blue",
        "network rm empty",
        "network prune --force",
        "run -- true",
        "run --detach --network red,ip=10.221.0.77 -- true",
        "network connect bridge ann",
        "reload",
    ];
    world.write("weft.toml", &format!("{FILE}options = {{ isolated = true }}\n"));
    for line in lines {
        let words = ["nothing was changed", "no room", "small/state/state.db"];
        world.weft(line).refused(1, &words, "make room");
    }
    world.write("weft.toml", FILE);
    assert_eq!(world.weft("reload").ok(), "nothing has changed\n");
    assert_eq!(networks(world), listed);
    assert_eq!((members(world, "red"), world.names(), world.ports().len()), before);
    assert_eq!(world.exec("ann", "ip -o link | wc -l").ok(), "2\n");
    assert_eq!(world.exec("ann", "ip -o -4 address show scope global | wc -l").ok(), "1\n");
}

fn a_full_disk_refuses_what_is_new_and_keeps_what_is_there(world: &World) {
    let small = Cramped::mount(world);
    world.write("weft.toml", FILE);
    let up = world.answering(small.start(&small.up("state")));
    world.weft("network create empty").ok();
    let _ann = world.sandbox("ann", "--network red");
    let bob = world.sandbox("bob", "--network red");
    let _eve = world.sandbox("eve", "--network red");
    let listed = networks(world);
    small.fill();
    what_is_new_is_refused(world);
    reaches(world, "ann", "bob");

    // What ends has ended.
    assert_eq!(world.weft("stop bob").ok(), "bob\n");
    assert_eq!(bob.end().code, 143);
    assert_eq!((world.names(), world.ports().len()), (vec!["ann".into(), "eve".into()], 2));
    assert_eq!(names(members(world, "red")), ["ann", "eve"]);
    world.weft("run --name bob --network red -- true").refused(1, &["no room"], "make room");
    what_is_new_is_refused(world);
    reaches(world, "ann", "eve");

    // The next appliance starts all the same, and takes back who lives.
    up.kill();
    let up = world.answering(small.start(&small.up("state")));
    eventually("both are back", || (world.ports().len() == 2).then_some(()));
    assert_eq!(networks(world), listed);
    reaches(world, "ann", "eve");
    what_is_new_is_refused(world);
    world.weft("down --keep").ok();
    assert_eq!(up.into_program().end().code, 0);
    let up = world.answering(small.start(&small.up("state")));
    eventually("both are back", || (world.ports().len() == 2).then_some(()));
    // One that never had a state has nothing to start with, and makes no half of one.
    let other = world.path("other/weft.sock").display().to_string();
    let fresh = small.start(&format!("{} --socket {other}", small.up("fresh")));
    fresh.end().refused(1, &["small/fresh"], "make room");

    small.make_room();
    world.weft("network create blue").ok();
    world.weft("run --network red -- true").ok();
    world.weft("network connect blue ann").ok();
    assert_eq!(world.endpoints("ann").len(), 2);
    world.weft("network rm empty").ok();
    eventually("bob is given up", || {
        (names(members(world, "red")) == ["ann", "eve"]).then_some(())
    });
    up.kill();
    let _up = world.answering(small.start(&small.up("state")));
    assert_eq!(names(members(world, "red")), ["ann", "eve"]);
    world.weft("run --name bob --network red -- true").ok();
    assert_eq!(world.weft("network ls -f type=custom --format {{.Name}}").ok(), "blue\nred\n");
}
