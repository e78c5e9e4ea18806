//! What happens when something is killed.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::ChildStdin;
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::support::{Program, World, eventually};

as_both!(
    a_killed_supervisor_takes_its_sandbox_along,
    sandboxes_and_their_connections_outlive_a_killed_appliance,
    a_killed_appliance_of_weft_run_s_own_comes_back_by_itself,
    sandboxes_that_were_kept_find_the_next_appliance,
    a_sandbox_that_ends_without_an_appliance_ends_quietly,
    an_appliance_that_does_not_answer_keeps_nobody_from_ending,
    a_sandbox_whose_interface_was_deleted_meanwhile_comes_back_without,
    a_sandbox_that_is_refused_comes_back_when_it_may,
    a_stopped_appliance_that_goes_on_has_its_sandboxes_back,
);

const BLUE: &str = "
    [networks.blue]
    subnets = [\"10.201.0.0/24\"]
";

fn a_killed_supervisor_takes_its_sandbox_along(world: &World) {
    let _up = world.up_with(BLUE);
    let script = "setsid sleep 1001 & (setsid sleep 1002 &); echo up; exec sleep 1003";
    let ann = world.program("ann", "--network blue,ip=10.201.0.9", script, "up");
    let running =
        || world.processes().into_iter().filter(|(_, line)| line.starts_with("sleep 100"));
    eventually("three programs run", || (running().count() == 3).then_some(()));
    ann.signal(Signal::KILL);
    assert_eq!(ann.end().code, 137);
    eventually("all of them have ended", || (running().count() == 0).then_some(()));
    world.wait_until_gone("ann");
    world.weft("run --name ann --network blue,ip=10.201.0.9 -- true").ok();
}

/// Octets that repeat nowhere near.
fn octets(count: u32) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Two sandboxes, `receiver` and `sender`, with a TCP connection between them.
struct Conversation {
    receiver: Program,
    sender: Program,
    stdin: Option<ChildStdin>,
    sent: Vec<u8>,
}

impl Conversation {
    fn begin(world: &World, options: &str) -> Self {
        let script = "echo up >&2; exec socat -u TCP-LISTEN:7000 -";
        let mut command = world.weft_command(&format!("run --name receiver {options} -- bash -c"));
        command.arg(script);
        let receiver = Program::start(command);
        eventually("the receiver runs", || receiver.err().contains("up").then_some(()));
        world.wait_for_listener("receiver", 7000);
        let address = world.endpoint("receiver").addresses[0].ip();
        // It half-closes and waits for the other side: its stack, with all that is unsent in it,
        // goes when it ends.
        let line = format!("run --name sender {options} -- socat -t 60 - TCP:{address}:7000");
        let mut sender = world.start(&line);
        let stdin = Some(sender.take_stdin());
        Self { receiver, sender, stdin, sent: Vec::new() }
    }

    /// Sends so much more that buffers alone cannot hold it, from a thread.
    fn send(&mut self, count: u32) -> JoinHandle<ChildStdin> {
        let more = octets(count);
        self.sent.extend_from_slice(&more);
        let mut stdin = self.stdin.take().unwrap();
        std::thread::spawn(move || {
            stdin.write_all(&more).unwrap();
            stdin
        })
    }

    /// Waits until all has arrived as it was sent, and both sides have ended well.
    fn complete(mut self, writer: JoinHandle<ChildStdin>) {
        self.stdin = Some(writer.join().unwrap());
        drop(self.stdin);
        assert_eq!(self.sender.end().code, 0);
        eventually("all has arrived", || {
            (self.receiver.printed() >= self.sent.len()).then_some(())
        });
        assert!(self.receiver.octets() == self.sent, "what arrived is not what was sent");
        assert_eq!(self.receiver.end().code, 0);
    }
}

fn sandboxes_and_their_connections_outlive_a_killed_appliance(world: &World) {
    let up = world.up_with(BLUE);
    let mut talk = Conversation::begin(world, "--network blue");
    let first = talk.send(1 << 20).join().unwrap();
    talk.stdin = Some(first);
    eventually("some has arrived", || (talk.receiver.printed() > 100_000).then_some(()));
    let before: Vec<_> = world.ps().into_iter().map(|l| (l.id, l.name, l.endpoints)).collect();
    assert_eq!(before.len(), 2);
    up.kill();
    let writer = talk.send(24 << 20);
    assert!(world.socket().exists(), "a killed appliance cannot remove its socket");
    world.weft("ps").refused(1, &["no appliance is running"], "weft up");
    assert!(!talk.receiver.has_ended() && !talk.sender.has_ended());

    let _up = world.up_with(BLUE);
    eventually("both have come back", || (world.ps().len() == 2).then_some(()));
    let after: Vec<_> = world.ps().into_iter().map(|l| (l.id, l.name, l.endpoints)).collect();
    assert_eq!(after, before);
    eventually("exec works again", || (world.exec("receiver", "true").code == 0).then_some(()));
    talk.complete(writer);
}

fn a_killed_appliance_of_weft_run_s_own_comes_back_by_itself(world: &World) {
    let mut talk = Conversation::begin(world, "");
    let first = talk.send(1 << 20).join().unwrap();
    talk.stdin = Some(first);
    let status = world.status().unwrap();
    assert!(status.on_demand);
    let pid = rustix::process::Pid::from_raw(i32::try_from(status.pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let writer = talk.send(24 << 20);
    let next = eventually("the next appliance has both", || {
        world.status().filter(|next| next.pid != status.pid && next.sandboxes == 2)
    });
    assert!(next.on_demand);
    talk.complete(writer);
    world.weft("down").ok();
}

fn sandboxes_that_were_kept_find_the_next_appliance(world: &World) {
    let up = world.up_with(BLUE);
    let mut ann = world.sandbox("ann", "--network blue");
    let mut bob = world.sandbox("bob", "--network blue");
    let before = (world.endpoint("ann"), world.endpoint("bob"));
    let said = world.weft("down --keep").ok();
    assert!(said.contains("ann") && said.contains("bob"), "{said}");
    assert_eq!(up.into_program().end().code, 0);
    assert!(!world.socket().exists());
    assert!(!ann.has_ended() && !bob.has_ended());
    let _up = world.up_with(BLUE);
    eventually("both have come back", || (world.ps().len() == 2).then_some(()));
    assert_eq!((world.endpoint("ann"), world.endpoint("bob")), before);
    let address = before.1.addresses[0].ip();
    eventually("exec works again", || (world.exec("ann", "true").code == 0).then_some(()));
    world.exec("ann", &format!("ping -c 3 -i 0.2 -W 2 {address}")).ok();
}

fn a_sandbox_that_ends_without_an_appliance_ends_quietly(world: &World) {
    let up = world.up_with(BLUE);
    let ann = world.sandbox("ann", "--network blue");
    up.kill();
    ann.signal(Signal::TERM);
    let said = ann.end();
    assert_eq!((said.code, &*said.err), (143, ""));
    // The next one replaces the socket that the killed one left, and removes it in the end.
    let _up = world.up_with(BLUE);
    assert_eq!(world.names(), [""; 0]);
}

fn an_appliance_that_does_not_answer_keeps_nobody_from_ending(world: &World) {
    let up = world.up_with(BLUE);
    let script = "echo up; read x; exit 7";
    let mut ann = world.program("ann", "--network blue", script, "up");
    let bob = world.sandbox("bob", "--network blue");
    up.kill();
    // It takes calls and says nothing, as one whose process is stopped.
    fs::remove_file(world.socket()).unwrap();
    let silent = UnixListener::bind(world.socket()).unwrap();
    fs::set_permissions(world.socket(), Permissions::from_mode(0o666)).unwrap();
    let calls = [silent.accept().unwrap(), silent.accept().unwrap()];
    drop(ann.take_stdin());
    bob.signal(Signal::TERM);
    assert_eq!(ann.end().code, 7);
    assert_eq!(bob.end().code, 143);
    drop((calls, silent));
    let _up = world.up_with(BLUE);
    assert_eq!(world.names(), [""; 0]);
}

fn a_sandbox_whose_interface_was_deleted_meanwhile_comes_back_without(world: &World) {
    let up = world.up_with(BLUE);
    let script = "echo up; read x; ip link del eth0 && echo deleted; exec sleep infinity";
    let mut ann = world.program("ann", "--network blue", script, "up");
    world.weft("down --keep").ok();
    assert_eq!(up.into_program().end().code, 0);
    ann.take_stdin().write_all(b"\n").unwrap();
    ann.wait_for("deleted");
    let _up = world.up_with(BLUE);
    eventually("ann has come back", || (world.names() == ["ann"]).then_some(()));
    assert!(world.ports().is_empty(), "{:#?}", world.ports());
    world.weft("stop ann").ok();
    assert_eq!(ann.end().code, 143);
}

fn a_sandbox_that_is_refused_comes_back_when_it_may(world: &World) {
    let up = world.up_with(BLUE);
    let mut ann = world.sandbox("ann", "--network blue");
    let before = world.endpoint("ann");
    up.kill();
    let _up = world.up_with(&BLUE.replace("blue", "red"));
    // By the time that another sandbox has come and gone, ann has asked.
    world.weft("run --network red -- true").ok();
    assert_eq!(world.names(), [""; 0]);
    world.write("weft.toml", BLUE);
    world.weft("reload").ok();
    assert_eq!(world.endpoint("ann"), before);
    assert!(!ann.has_ended());
}

fn a_stopped_appliance_that_goes_on_has_its_sandboxes_back(world: &World) {
    let up = world.up_with(BLUE);
    let script = "echo up; read x; exit 7";
    let mut ann = world.program("ann", "--network blue", script, "up");
    let bob = world.sandbox("bob", "--network blue");
    up.signal(Signal::STOP);
    drop(ann.take_stdin());
    assert_eq!(ann.end().code, 7);
    up.signal(Signal::CONT);
    eventually("only bob is there", || (world.names() == ["bob"]).then_some(()));
    world.weft("stop bob").ok();
    assert_eq!(bob.end().code, 143);
}
