//! An appliance that is killed again and again, while everybody wants something of it.
//!
//! Each round several clients make and remove networks, come, join, leave and go, until the
//! appliance is killed at some moment. The next one is asked for all it has, which is compared with
//! what each client knows. Three real sandboxes live through all of it: two that talk over TCP, and
//! one that joins and leaves networks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ChildStdin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use weft::api::client::{Client as Api, ClientError};
use weft::api::shapes::{EndpointRequest, SandboxLine};

use super::client::{Client, Round, TIGHT, WIDE};
use super::ledger::{Found, Member};
use super::state::keys;
use crate::support::appliance::Appliance;
use crate::support::random::{Random, Seed};
use crate::support::wait::until;
use crate::support::{Program, World, eventually};

as_both!(what_was_acknowledged_outlives_every_kill_and_nothing_leaks);

const CLIENTS: usize = 5;
/// So many rounds, or fewer on a machine that is slow.
const ROUNDS: usize = 60;
const TIME: Duration = Duration::from_secs(40);
/// How long a sandbox may take to come back. A loaded machine is no failure, but this long a
/// program notices.
const RETURN: Duration = Duration::from_secs(8);
/// The networks that the third sandbox joins and leaves.
const JOINED: [&str; 2] = ["join0", "join1"];

fn what_was_acknowledged_outlives_every_kill_and_nothing_leaks(world: &World) {
    let seed = Seed::choose();
    let mut random = Random::new(seed.0);
    let api = Api::new(world.socket());
    let mut up = world.up();
    for (name, subnet) in [WIDE, TIGHT] {
        world.weft(&format!("network create --subnet {subnet} {name}")).ok();
    }
    for name in JOINED {
        world.weft(&format!("network create {name}")).ok();
    }
    let mut residents = Residents::start(world);
    let shared = Found::gather(&api).networks;
    let client = |number| Client::new(number, api.clone(), Random::new(random.next()));
    let mut clients: Vec<Client> = (0..CLIENTS).map(client).collect();
    let (started, mut round, mut rounds) = (Instant::now(), Round::default(), 0);
    while rounds < ROUNDS && started.elapsed() < TIME {
        rounds += 1;
        residents.say();
        kill_under_way(&up, &mut clients, &mut residents, &mut round, &mut random);
        up.kill();
        if random.once_in(5) {
            let starting = world.start("up");
            spin(Duration::from_micros(random.below(100_000) as u64));
            starting.signal(Signal::KILL);
            assert_eq!(starting.end().code, 137);
        }
        up = world.up();
        let since = Instant::now();
        let found = Found::gather(&api);
        compare(&found, &shared, &mut clients, &mut residents);
        if random.once_in(4) {
            residents.are_back(world, since);
        }
    }
    residents.are_back(world, Instant::now());
    let done = round.done.load(Ordering::Relaxed);
    println!("{rounds} rounds, {done} operations, back within {:?}", residents.slowest);
    assert!(rounds >= 10 && done >= 1000, "{rounds} rounds, {done} operations");
    residents.end(world);
    all_that_died_is_given_up(world, up, &api, &mut clients);
    what_is_left_is_what_was_there_first(world, &api, &mut clients);
}

/// Lets everybody work, and kills the appliance at some moment.
fn kill_under_way(
    up: &Appliance,
    clients: &mut [Client],
    residents: &mut Residents,
    round: &mut Round,
    random: &mut Random,
) {
    *round.killed.get_mut() = false;
    // Sometimes while the sandboxes come back; else after so many operations.
    let (more, micros) = if random.once_in(5) { (0, 60_000) } else { (250, 5_000) };
    let enough = *round.done.get_mut() + if more == 0 { 0 } else { 20 + random.below(more) };
    let pause = Duration::from_micros(random.below(micros) as u64);
    let round = &*round;
    std::thread::scope(|scope| {
        for client in clients {
            scope.spawn(|| client.work(round));
        }
        scope.spawn(|| residents.join_and_leave(round));
        let is_enough = || round.done.load(Ordering::Relaxed) >= enough;
        let _ = until(Duration::from_secs(20), || is_enough().then_some(()));
        spin(pause);
        round.killed.store(true, Ordering::SeqCst);
        up.signal(Signal::KILL);
    });
}

/// Lets a moment pass, without giving up the processor.
fn spin(moment: Duration) {
    let now = Instant::now();
    while now.elapsed() < moment {
        std::hint::spin_loop();
    }
}

/// Sees that what is there is what everybody knows, and nothing else.
fn compare(
    found: &Found,
    shared: &BTreeMap<String, Value>,
    clients: &mut [Client],
    residents: &mut Residents,
) {
    let mut networks: BTreeSet<&str> = shared.keys().map(String::as_str).collect();
    let mut sandboxes = BTreeSet::from(["ann", "bob", "carol"]);
    residents.compare(found);
    for client in clients {
        client.ledger.compare(found);
        networks.extend(client.ledger.networks.keys().map(String::as_str));
        sandboxes.extend(client.ledger.sandboxes.keys().map(String::as_str));
    }
    for (name, network) in &found.networks {
        assert!(networks.contains(&**name), "nobody made {network}");
        assert!(shared.get(name).is_none_or(|before| before == network), "{network}");
    }
    assert!(shared.keys().all(|name| found.networks.contains_key(name)));
    let strangers: Vec<&str> = found.names().difference(&sandboxes).copied().collect();
    assert!(strangers.is_empty(), "{strangers:?} are not known: {found:#?}");
}

/// Sandboxes that live through all of it.
struct Residents {
    api: Api,
    programs: Vec<Program>,
    stdin: Option<ChildStdin>,
    sent: Vec<u8>,
    /// What `ann` and `bob` have, always.
    fixed: BTreeMap<String, Vec<Member>>,
    /// Whether `carol` is on a network, if that is known.
    joined: BTreeMap<&'static str, Option<bool>>,
    slowest: Duration,
}

impl Residents {
    fn start(world: &World) -> Self {
        let script = "echo up >&2; exec socat -u TCP-LISTEN:7000 -";
        let mut command = world.weft_command("run --name ann --network wide -- bash -c");
        command.arg(script);
        let ann = Program::start(command);
        eventually("ann is up", || ann.err().contains("up").then_some(()));
        world.wait_for_listener("ann", 7000);
        let address = world.endpoint("ann").addresses[0].ip();
        let line = format!("run --name bob --network wide -- socat -t 60 - TCP:{address}:7000");
        let mut bob = world.start(&line);
        let stdin = Some(bob.take_stdin());
        let carol = world.sandbox("carol", "");
        let api = Api::new(world.socket());
        eventually("all three are there", || (world.ports().len() == 3).then_some(()));
        let mut fixed = Found::gather(&api).members;
        assert_eq!(fixed.remove("carol").map(|own| own.len()), Some(1));
        let joined = JOINED.map(|name| (name, Some(false))).into();
        let (sent, slowest) = (Vec::new(), Duration::ZERO);
        Self { api, programs: vec![ann, bob, carol], stdin, sent, fixed, joined, slowest }
    }

    /// Puts `carol` on networks and takes her off, until the appliance is gone.
    fn join_and_leave(&mut self, round: &Round) {
        let gone = || assert!(round.killed.load(Ordering::SeqCst), "a living one does not answer");
        let back = until(RETURN, || {
            let ps: Result<Vec<SandboxLine>, _> = self.api.get("/weft/v1/sandboxes");
            match ps {
                Ok(lines) => lines.into_iter().find(|line| line.name == "carol").map(Some),
                Err(_) => Some(None),
            }
        });
        let Some(carol) = back.expect("carol comes back") else { return gone() };
        for (network, joined) in &mut self.joined {
            let is_on = carol.endpoints.iter().any(|own| own.network == *network);
            assert!(joined.is_none_or(|joined| joined == is_on), "{network}: {carol:?}");
            *joined = Some(is_on);
        }
        for network in JOINED.into_iter().cycle() {
            let was = self.joined.insert(network, None).flatten().unwrap();
            let verb = if was { "disconnect" } else { "connect" };
            let path = format!("/networks/{network}/{verb}");
            match self.api.post::<Value>(&path, &json!({ "Container": "carol" })) {
                Ok(_) => self.joined.insert(network, Some(!was)),
                Err(ClientError::Refused(failure)) => panic!("{verb} {network}: {failure:?}"),
                Err(_) => return gone(),
            };
            round.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn compare(&mut self, found: &Found) {
        for (name, fixed) in &self.fixed {
            assert_eq!(found.of(name), fixed);
        }
        let carol = found.of("carol");
        for (network, joined) in &self.joined {
            let is_on = carol.iter().any(|own| own.network == *network);
            assert!(joined.is_none_or(|joined| joined == is_on), "{network}: {carol:?}");
        }
        assert!(carol.iter().any(|own| own.network == "bridge"), "{carol:?}");
    }

    /// Has `bob` say something to `ann`, whether or not there is anybody to carry it.
    fn say(&mut self) {
        let more = [b'0' + u8::try_from(self.sent.len() % 10).unwrap(); 199];
        self.sent.extend_from_slice(&more);
        self.stdin.as_mut().unwrap().write_all(&more).unwrap();
    }

    /// Waits until all are back, and their connection goes on.
    fn are_back(&mut self, world: &World, since: Instant) {
        let names = ["ann", "bob", "carol"];
        let back = until(RETURN, || {
            let there = world.names();
            names.iter().all(|name| there.iter().any(|own| own == name)).then_some(())
        });
        assert!(back.is_some(), "only {:?} are back", world.names());
        self.slowest = self.slowest.max(since.elapsed());
        self.say();
        let (ann, sent) = (&self.programs[0], &self.sent);
        eventually("all has arrived", || (ann.printed() >= sent.len()).then_some(()));
        assert!(ann.octets() == *sent, "what arrived is not what was sent");
        let links = eventually("carol can be entered", || {
            let said = world.exec("carol", "ip -o link | wc -l");
            (said.code == 0).then_some(said.out)
        });
        let expected = world.endpoints("carol").len() + 1;
        assert_eq!(links.trim(), expected.to_string());
        assert!(self.programs.iter_mut().all(|program| !program.has_ended()));
    }

    fn end(mut self, world: &World) {
        drop(self.stdin.take());
        for (program, code) in self.programs.drain(..2).rev().zip([0, 0]) {
            assert_eq!(program.end().code, code);
        }
        world.weft("stop carol").ok();
        assert_eq!(self.programs.remove(0).end().code, 143);
    }
}

/// Kills everybody at once. The next appliance waits for those who died, and then their names and
/// addresses are free.
fn all_that_died_is_given_up(world: &World, up: Appliance, api: &Api, clients: &mut [Client]) {
    clients.iter_mut().for_each(Client::come_back_whole);
    up.kill();
    let mut died: Vec<String> = clients.iter_mut().flat_map(Client::abandon).collect();
    let up = world.up();
    let found = Found::gather(api);
    clients.iter_mut().for_each(|client| client.ledger.compare(&found));
    died.retain(|name| !found.of(name).is_empty());
    let tight = || vec![EndpointRequest { network: TIGHT.0.to_owned(), ..Default::default() }];
    for name in &died {
        let failure = clients[0].attach(name, None, tight()).unwrap().unwrap_err();
        assert!(failure.message.contains(&format!("{name} is kept")), "{failure:?}");
    }
    eventually("all are given up", || Found::gather(api).members.is_empty().then_some(()));
    let found = Found::gather(api);
    clients.iter_mut().for_each(|client| client.ledger.compare(&found));

    // A /28 has 16 addresses, and three of them are nobody's.
    let names: Vec<String> = (0..13).map(|number| format!("t{number}")).collect();
    let names: Vec<String> = died.into_iter().chain(names).take(13).collect();
    let attach = |name: &str| clients[0].attach(name, None, tight()).unwrap();
    let lines: Vec<_> = names.iter().map(|name| attach(name).unwrap().2).collect();
    let failure = attach("one-more").unwrap_err();
    assert!(failure.message.contains("no free address (14 leased)"), "{failure:?}");
    assert_eq!(Found::gather(api).members.len(), 13);
    lines.into_iter().for_each(|line| line.part(RETURN));
    assert!(world.ports().is_empty());
    drop(up);
}

/// Removes everything. Then an appliance has what a new one has, and so has its state.
fn what_is_left_is_what_was_there_first(world: &World, api: &Api, clients: &mut [Client]) {
    let up = world.up();
    eventually("nobody is awaited", || Found::gather(api).members.is_empty().then_some(()));
    for client in clients {
        client.prune().unwrap();
        assert!(client.ledger.networks.is_empty());
    }
    world.weft("network prune --force").ok();
    let left: Vec<String> = Found::gather(api).networks.into_keys().collect();
    assert_eq!(left, ["bridge", "host", "none"]);
    let status = world.status().unwrap();
    assert_eq!((status.networks, status.endpoints, status.sandboxes), (3, 0, 0));
    world.weft("down").ok();
    assert_eq!(up.into_program().end().code, 0);
    let keys = keys(world, &world.state());
    let networks = keys.iter().filter(|key| key.starts_with("networks/")).count();
    assert_eq!((keys.len(), networks), (4, 3), "{keys:?}");
}
