//! A physical network for tests: a switch with a host on it, and two machines plugged in, of which
//! one runs weft and the other the kernel's own macvlan.

use super::namespace::Namespace;
use super::program::{Program, Said};
use super::wait::eventually;
use super::world::World;

/// What runs for a test beside the kernel's macvlan.
#[derive(Debug)]
pub struct Physical {
    /// The switch, and the host that is it: 10.250.0.1 and fd00:250::1.
    pub out: Namespace,
    /// The machine that runs weft, by its `eth0`: 10.250.0.2.
    pub near: Namespace,
    /// The machine that has the kernel's macvlan, by its `eth0`: 10.250.0.3.
    pub beside: Namespace,
}

/// Somewhere on a network, to send from.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A sandbox of weft's.
    Sandbox(&'a World, &'a str),
    /// A namespace.
    Namespace(&'a Namespace),
}

impl Physical {
    /// Plugs the two machines in.
    #[track_caller]
    pub fn build(world: &World) -> Self {
        let own = ["out", "near", "beside"].map(|name| world.namespace(name));
        let [out, near, beside] = own;
        // An address of its own, or it would change with what is plugged in.
        out.run("ip link add br0 address 02:00:00:fa:00:01 type bridge").ok();
        out.run("ip address add 10.250.0.1/24 dev br0").ok();
        out.run("ip address add fd00:250::1/64 dev br0 nodad").ok();
        out.run("ip link set br0 up").ok();
        let physical = Self { out, near, beside };
        physical.plug("p0", &physical.near);
        physical.plug("p1", &physical.beside);
        physical.near.run("ip address add 10.250.0.2/24 dev eth0").ok();
        physical.beside.run("ip address add 10.250.0.3/24 dev eth0").ok();
        for space in [&physical.out, &physical.near, &physical.beside] {
            hear_broadcasts(space);
        }
        physical
    }

    /// Connects a machine's new `eth0` to the switch.
    #[track_caller]
    pub fn plug(&self, port: &str, machine: &Namespace) {
        let name = &machine.name;
        self.out.run(&format!("ip link add {port} type veth peer name eth0 netns {name}")).ok();
        self.out.run(&format!("ip link set {port} master br0 up")).ok();
        machine.run("ip link set eth0 up").ok();
    }

    /// Whether the switch sends back what came from where it goes to.
    #[track_caller]
    pub fn reflect(&self, is_reflecting: bool) {
        let word = if is_reflecting { "on" } else { "off" };
        for port in ["p0", "p1"] {
            self.out.run(&format!("bridge link set dev {port} hairpin {word}")).ok();
        }
    }

    /// Runs weft on its machine, with this file.
    #[track_caller]
    pub fn up(&self, world: &World, toml: &str) -> Program {
        let file = world.write("weft.toml", toml);
        let line = format!("{} up {}", world.binary().display(), file.display());
        let mut program = self.near.start(&line);
        let pid = u32::try_from(program.pid()).unwrap();
        eventually("the appliance answers", || {
            assert!(!program.has_ended(), "{}", program.err());
            world.status().filter(|status| status.pid == pid)
        });
        program
    }

    /// Makes a macvlan of the kernel's on the other machine, in a namespace of its own.
    #[track_caller]
    pub fn kernel_endpoint(
        &self,
        world: &World,
        name: &str,
        mode: &str,
        address: &str,
    ) -> Namespace {
        let space = world.namespace(name);
        self.beside.run(&format!("ip link add {name} link eth0 type macvlan mode {mode}")).ok();
        self.beside.run(&format!("ip link set {name} netns {} name eth0", space.name)).ok();
        space.run(&format!("ip address add {address}/24 dev eth0")).ok();
        space.run("ip link set eth0 up").ok();
        hear_broadcasts(&space);
        space
    }
}

impl Place<'_> {
    /// Starts a shell script here.
    pub fn start(self, script: &str) -> Program {
        match self {
            Self::Namespace(space) => space.start(&format!("bash -c '{script}'")),
            Self::Sandbox(world, name) => {
                let mut command = world.weft_command(&format!("exec {name} -- bash -c"));
                command.arg(script);
                Program::start(command)
            }
        }
    }

    /// Runs a shell script here.
    #[track_caller]
    pub fn run(self, script: &str) -> Said {
        self.start(script).end()
    }

    /// How much a kernel counter has gone up since the stack was made.
    #[track_caller]
    pub fn counter(self, name: &str) -> u64 {
        let said = self.run(&format!("nstat -asz {name}")).ok();
        let line = said.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    }
}

/// Has a host answer what is sent to everybody.
#[track_caller]
pub fn hear_broadcasts(space: &Namespace) {
    Place::Namespace(space).run(HEAR_BROADCASTS).ok();
}

/// The same as a shell script.
pub const HEAR_BROADCASTS: &str = "echo 0 > /proc/sys/net/ipv4/icmp_echo_ignore_broadcasts";
