//! `weft demo`: everything this version does, done once, checked and reported.
//!
//! Ann, Bob and Eve are three sandboxes on an appliance of the demo's own, with a socket in a fresh
//! folder, so that an appliance of the user's does not notice. Each runs [`peer`]'s server, a
//! program of this very binary: the demo needs no tool of the host's. What [`stage`] put up it
//! takes down again, and looks whether that is true.

pub(super) mod peer;
mod ping;
mod report;
mod stage;
mod transfer;

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{Complaint, print, say};
use crate::api::shapes::{DropLine, FdbLine, Status};
use peer::{BORROWED, Found, PORT};
use ping::Answers;
use report::Report;
use stage::Stage;
use transfer::Transfer;

/// What the report begins with.
const TITLE: &str =
    "weft demo: three programs, each in a stack of its own, on one switch in one process\n";
/// The sandboxes, in the order of their start.
const CAST: [&str; 3] = ["ann", "bob", "eve"];
/// What eve's frames are counted as.
const REASON: &str = "spoofed-address";
/// How long a counter may take to show what happened.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The tables at the end of the play.
struct Tables {
    fdb: Vec<FdbLine>,
    drops: Vec<DropLine>,
}

pub(super) fn demo() -> Result<ExitCode, Complaint> {
    let mut report = Report::on_stdout();
    say(TITLE);
    let mut stage = Stage::new()?;
    let tables = play(&mut stage, &mut report);
    report.check("nothing left", &stage.end());
    if let Some(Tables { fdb, drops }) = tables {
        say(&format!("\nWhich port leads to which station (weft show fdb):\n{}", print::fdb(&fdb)));
        say(&format!("\nWhat was dropped, and why (weft show drops):\n{}", print::drops(&drops)));
    }
    let failed = report.failed();
    if !failed.is_empty() {
        return Err(Complaint::text(format!(
            "the demo did not get through: {}",
            failed.join(", ")
        )));
    }
    say(&next_steps(&invoked_as()));
    Ok(ExitCode::SUCCESS)
}

/// Plays everything that can be played; what stands on something that failed is left out.
fn play(stage: &mut Stage, report: &mut Report) -> Option<Tables> {
    if !report.check("appliance", &appliance(stage))
        || !report.check("sandboxes", &sandboxes(stage))
    {
        return None;
    }
    report.check("names", &names(stage));
    report.check("ping", &ping(stage));
    report.check("TCP", &tcp(stage));
    report.check("guard", &guard(stage));
    let fdb = stage.client().get("/weft/v1/fdb").ok()?;
    let drops = stage.client().get("/weft/v1/drops").ok()?;
    Some(Tables { fdb, drops })
}

fn appliance(stage: &mut Stage) -> Result<String, Complaint> {
    let took = stage.start_appliance()?;
    let status: Status = stage.client().get("/weft/v1/status")?;
    let rights = if rustix::process::geteuid().is_root() { "as root" } else { "without root" };
    let memory = status.resident_kib as f64 / 1024.0;
    Ok(format!("up in {} ms, {rights}, {memory:.1} MiB", took.as_millis()))
}

fn sandboxes(stage: &mut Stage) -> Result<String, Complaint> {
    let mut longest = Duration::ZERO;
    for name in CAST {
        longest = longest.max(stage.start_sandbox(name)?);
    }
    let placed: Vec<String> = CAST
        .iter()
        .map(|name| Ok(format!("{name} {}", stage.address(name)?)))
        .collect::<Result<_, Complaint>>()?;
    Ok(format!("{} ({} ms each at most)", placed.join(", "), longest.as_millis()))
}

fn names(stage: &Stage) -> Result<String, Complaint> {
    let Found { address } = stage.ask("ann", &["find", "bob"])?;
    let real = stage.address("bob")?;
    if address != real {
        return Err(Complaint::text(format!("ann finds bob at {address}, and he is at {real}")));
    }
    Ok(format!("ann finds bob by name: {address}"))
}

fn ping(stage: &Stage) -> Result<String, Complaint> {
    let bob = stage.address("bob")?.to_string();
    let Answers { sent, received, median_us } = stage.ask("ann", &["ping", &bob])?;
    if received < sent {
        return Err(Complaint::text(format!("bob answered {received} of {sent} times")));
    }
    Ok(format!("ann to bob and back in {median_us} µs, {received} of {sent} answered"))
}

fn tcp(stage: &Stage) -> Result<String, Complaint> {
    let bob = SocketAddrV4::new(stage.address("bob")?, PORT);
    let ours: Transfer = stage.ask("ann", &["send", &bob.to_string()])?;
    let kernels = over_loopback().map_err(|error| {
        Complaint::text(format!("the kernel's loopback, to compare with: {}", super::chain(&error)))
    })?;
    let (ours, kernels) = (ours.gigabits_per_second(), kernels.gigabits_per_second());
    Ok(format!(
        "ann to bob {ours:.1} Gbit/s; the kernel's loopback {kernels:.1} Gbit/s ({:.2} of it)",
        ours / kernels
    ))
}

/// The same transfer between two threads on the host, with no switch in between.
fn over_loopback() -> std::io::Result<Transfer> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let sink = std::thread::spawn(move || transfer::take(&listener.accept()?.0));
    let sent = transfer::send(address);
    // The sender has read the sink's count, or knows why not.
    let _ = sink.join();
    sent
}

/// Eve takes bob's address and writes to ann. Nothing of that may leave her port.
fn guard(stage: &Stage) -> Result<String, Complaint> {
    let (bob, ann) = (stage.address("bob")?.to_string(), stage.address("ann")?.to_string());
    let _: serde_json::Value = stage.ask("eve", &["borrow", &bob, &ann])?;
    let patience = Instant::now() + PATIENCE;
    loop {
        let drops: Vec<DropLine> = stage.client().get("/weft/v1/drops")?;
        let of_eve = drops.iter().filter(|line| line.sandbox == "eve" && line.reason == REASON);
        let dropped: u64 = of_eve.map(|line| line.count).sum();
        if dropped >= BORROWED {
            return Ok(format!("eve borrowed bob's address; {dropped} frames of hers dropped"));
        }
        if Instant::now() >= patience {
            let text = format!(
                "eve sent {BORROWED} frames from bob's address, and {dropped} were dropped"
            );
            return Err(Complaint::text(text));
        }
        std::thread::sleep(LOOK);
    }
}

/// This program as the user called it, so that the commands below can be copied.
fn invoked_as() -> String {
    let invoked = std::env::args().next().unwrap_or_default();
    if invoked.contains('/') { invoked } else { "weft".to_owned() }
}

fn next_steps(weft: &str) -> String {
    let steps = [
        ("a server in a stack of its own", "run --detach --name web -- python3 -m http.server 80"),
        ("a neighbour that finds it by name", "run -- curl http://web/"),
        ("what passed between the two", "show ports"),
        ("the end of it", "stop web"),
        ("networks and programs from a file", "up config/single-host.toml"),
    ];
    let lines: Vec<String> =
        steps.iter().map(|(what, step)| format!("  {what:<36}{weft} {step}")).collect();
    format!("\nTry next:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_over_loopback_counts_what_arrived() {
        let transfer = over_loopback().unwrap();
        assert!(transfer.octets > 0, "{transfer:?}");
        assert!(transfer.gigabits_per_second() > 0.0, "{transfer:?}");
    }

    #[test]
    fn the_next_steps_name_the_program_as_it_was_called() {
        for line in next_steps("target/release/weft").lines().skip(2) {
            assert!(line.contains("  target/release/weft "), "{line}");
        }
    }
}
