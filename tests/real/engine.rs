//! weft beside a real Docker Engine: the same docker CLI tells both the same, and what they answer
//! is compared, command by command.
//!
//! [`list`] has the commands and why an answer may differ, [`answer`] what is compared, [`record`]
//! the page that shows it all. `WEFT_RECORD=1` writes that page anew; otherwise it has to be as it
//! is in the tree.

mod answer;
mod list;
mod record;

use std::path::PathBuf;

use crate::support::engine::{IMAGE, TOOLS};
use crate::support::world::words;
use crate::support::{Program, World, eventually, gate};

use answer::Answer;
use list::{Act, LIST, Step};

as_root!(the_engine_and_weft_answer_alike_or_differ_for_a_reason);

fn the_engine_and_weft_answer_alike_or_differ_for_a_reason(world: &World) {
    if !TOOLS.iter().all(|tool| gate::has(tool)) {
        return;
    }
    let _plugin = world.ipam_plugin();
    let engine = world.engine();
    // In a namespace of its own it finds no routes that would keep it from Docker's subnets.
    let namespace = world.namespace("weft");
    namespace.run("ip link add eth0 type veth peer name far0").ok();
    namespace.run("ip link set eth0 up").ok();
    let plugins = format!("[ipam]\nplugin-dirs = {:?}\n", world.path(""));
    let file = world.write("weft.toml", &plugins);
    let _up = namespace.start(&format!("{} up {}", world.binary().display(), file.display()));
    eventually("the appliance answers", || world.status());

    let engine = Side { world, socket: engine.socket().to_path_buf(), is_weft: false };
    let weft = Side { world, socket: world.socket(), is_weft: true };
    // What takes the engine long runs beside everything else.
    let early = steps().map(|step| step.is_early.then(|| engine.start(step.act))).collect();
    let from_weft = weft.answers(steps().map(|_| None).collect());
    let from_engine = engine.answers(early);

    let versions = engine.start(Act::Docker(record::VERSIONS)).end().ok();
    record::check(versions.trim(), &from_engine, &from_weft);
}

fn steps() -> impl Iterator<Item = &'static Step> {
    LIST.iter().flat_map(|part| part.steps)
}

/// One of the two that are compared.
struct Side<'a> {
    world: &'a World,
    socket: PathBuf,
    is_weft: bool,
}

impl Side<'_> {
    /// Takes every step, but for those that have begun already.
    fn answers(&self, early: Vec<Option<Program>>) -> Vec<Answer> {
        let mut sandboxes = Vec::new();
        let mut answers = Vec::new();
        for (step, begun) in steps().zip(early) {
            answers.push(match (step.act, begun) {
                (Act::Docker(_), Some(begun)) => Answer::of(&begun.end()),
                (act @ Act::Docker(_), None) => Answer::of(&self.start(act).end()),
                (act, _) => {
                    // Sandboxes run for as long as somebody holds them.
                    sandboxes.extend(self.start_or_stop(act));
                    Answer::done()
                }
            });
            if let (true, Act::Docker(line)) = (step.is_undone, step.act) {
                self.undo(line);
            }
        }
        answers
    }

    /// Starts or stops a container, which is a sandbox of weft's.
    fn start_or_stop(&self, act: Act) -> Option<Program> {
        match act {
            Act::Start { name, network, ip } if self.is_weft => {
                let ip = if ip.is_empty() { String::new() } else { format!(",ip={ip}") };
                return Some(self.world.sandbox(name, &format!("--network {network}{ip}")));
            }
            Act::Stop(name) if self.is_weft => {
                self.world.weft(&format!("stop {name}")).ok();
                self.world.wait_until_gone(name);
            }
            act @ (Act::Start { .. } | Act::Stop(_) | Act::Docker(_)) => {
                self.start(act).end().ok();
            }
        }
        None
    }

    /// Removes the network that a line has made, if it did: it is the last word.
    fn undo(&self, line: &str) {
        let name = words(line).pop().unwrap();
        self.world.docker_at(&self.socket, &["network", "rm", "--", &name]).end();
    }

    /// Begins what the docker CLI does.
    fn start(&self, act: Act) -> Program {
        let line = match act {
            Act::Docker(line) => line.to_owned(),
            Act::Start { name, network, ip } => {
                let ip = if ip.is_empty() { String::new() } else { format!("--ip {ip}") };
                format!("run -d --name {name} --network {network} {ip} {IMAGE} busybox sleep 3600")
            }
            Act::Stop(name) => format!("rm --force {name}"),
        };
        let words: Vec<String> = words(&line).into_iter().map(|word| self.meant(word)).collect();
        self.world.docker_at(&self.socket, &words)
    }

    /// `@network` is the beginning of the network's id, which each side has chosen itself.
    fn meant(&self, word: String) -> String {
        let Some(network) = word.strip_prefix('@') else { return word };
        let line = ["network", "inspect", "--format", "{{.Id}}", network].map(str::to_owned);
        let id = self.world.docker_at(&self.socket, &line).end().ok();
        id[..12].to_owned()
    }
}
