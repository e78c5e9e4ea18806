//! Signals, from the keyboard and from elsewhere.

use rustix::process::Signal;

use crate::support::pty::Terminal;
use crate::support::{World, eventually};

as_both!(
    ctrl_c_reaches_the_program_once,
    ctrl_c_ends_a_program_that_does_not_mind,
    a_signal_to_weft_is_passed_on,
    ctrl_z_stops_and_fg_goes_on,
);

/// Counts interrupts and tells how many there were when a line is typed.
const COUNTER: &str = "trap 'n=$((n+1)); echo interrupt $n' INT; n=0; echo ready; \
                       while :; do if read line; then echo counted $n; exit 5; fi; done";

/// Presses Ctrl-C once in a terminal where `line` runs the counter.
#[track_caller]
fn interrupt_once(world: &World, line: &str) {
    let mut command = world.weft_command(line);
    command.arg(COUNTER);
    let mut terminal = Terminal::start(world, &command);
    terminal.wait_for("ready");
    terminal.press("\x03");
    terminal.wait_for("interrupt 1");
    terminal.press("\n");
    terminal.wait_for("counted 1");
    assert_eq!(terminal.end(), 5);
}

fn ctrl_c_reaches_the_program_once(world: &World) {
    let _up = world.up();
    interrupt_once(world, "run --name ann -- bash -c");
    world.wait_until_gone("ann");

    let _bob = world.sandbox("bob", "");
    interrupt_once(world, "exec bob -- bash -c");
}

fn ctrl_c_ends_a_program_that_does_not_mind(world: &World) {
    let _up = world.up();
    let command = world.weft_command("run --name ann -- bash -c 'echo ready; exec sleep infinity'");
    let mut terminal = Terminal::start(world, &command);
    terminal.wait_for("ready");
    terminal.press("\x03");
    assert_eq!(terminal.end(), 130);
    world.wait_until_gone("ann");
}

fn a_signal_to_weft_is_passed_on(world: &World) {
    let _up = world.up();
    let script = "for s in HUP INT QUIT TERM USR1 USR2; do trap \"echo got $s\" $s; done; echo up; \
                  while :; do read -t 0.05 line <> <(:); done";
    let mut ann = world.program("ann", "", script, "up");
    let signals = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::TERM, "TERM"),
    ];
    for (signal, name) in signals {
        ann.signal(signal);
        ann.wait_for(&format!("got {name}\n"));
    }
    world.weft("stop --signal KILL ann").ok();
    let said = ann.end();
    assert_eq!(said.code, 137);
    assert_eq!(said.out.matches("got").count(), signals.len(), "{said:?}");

    let bob = world.sandbox("bob", "");
    bob.signal(Signal::TERM);
    assert_eq!(bob.end().code, 143);
}

fn ctrl_z_stops_and_fg_goes_on(world: &World) {
    let _up = world.up();
    let mut shell = world.command("bash");
    shell.args(["--norc", "--noprofile", "-i"]);
    let mut terminal = Terminal::start(world, &shell);
    let weft = world.binary().display();
    terminal.press(&format!("{weft} run --name ann -- sed -u s/^/got-/\n"));
    eventually("ann runs", || {
        world.ps().iter().any(|line| line.name == "ann" && line.pid.is_some()).then_some(())
    });
    terminal.press("before\n");
    terminal.wait_for("got-before");
    terminal.press("\x1a");
    terminal.wait_for("Stopped");
    terminal.press("fg\n");
    terminal.press("after\n");
    terminal.wait_for("got-after");
    terminal.press("\x04");
    world.wait_until_gone("ann");
    terminal.press("exit 4\n");
    assert_eq!(terminal.end(), 4);
}
