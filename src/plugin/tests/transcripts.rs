//! What engines asked a plugin, and what we ask it for the same commands.

use std::net::IpAddr;

use serde_json::Value;

use super::super::grant::EndpointWish;
use super::*;
use crate::cnm::Subnet;

/// One command with the calls that a real engine made of it.
#[derive(serde::Deserialize)]
struct Step {
    recording: String,
    command: String,
    stderr: Option<String>,
    calls: Vec<(String, Value, Value)>,
}

impl Step {
    /// The values of a flag of the command.
    fn flag<'a>(&'a self, flag: &'a str) -> impl Iterator<Item = &'a str> {
        let words: Vec<&str> = self.command.split_whitespace().collect();
        let pairs: Vec<(&str, &str)> = words.windows(2).map(|two| (two[0], two[1])).collect();
        pairs.into_iter().filter(move |(word, _)| *word == flag).map(|(_, value)| value)
    }

    fn wishes(&self) -> Vec<(SubnetSpec, Family)> {
        let read = |text: &str| text.parse().unwrap();
        let mut wishes: Vec<_> = self.flag("--subnet").map(wish).collect();
        if wishes.is_empty() {
            wishes.push(any());
        }
        wishes[0].0.gateway = self.flag("--gateway").next().map(|text| text.parse().unwrap());
        wishes[0].0.ip_range = self.flag("--ip-range").next().map(read);
        wishes[0].0.aux = self
            .flag("--aux-address")
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, at)| (name.to_owned(), at.parse().unwrap()))
            .collect();
        wishes
    }

    fn options(&self) -> BTreeMap<String, String> {
        let pairs = self.flag("--ipam-opt").map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// A plugin that answers as the one that was recorded.
    fn script(&self) -> impl Fn(&str, Option<&Value>) -> Reply + Send + Sync + 'static {
        let answers = Mutex::new(self.calls.iter().map(|call| call.2.clone()).collect::<Vec<_>>());
        let requires_mac = self.recording.contains("requires-mac");
        move |path, body| {
            if path.ends_with("GetCapabilities") {
                return Reply::Json(json!({"RequiresMACAddress": requires_mac}));
            }
            if path.ends_with("Spaces") {
                return Reply::Json(json!({"LocalDefaultAddressSpace": "weft-local"}));
            }
            if path.ends_with("Activate") {
                return obliging(path, body);
            }
            let mut answers = answers.lock().unwrap();
            Reply::Json(if answers.is_empty() { json!({}) } else { answers.remove(0) })
        }
    }

    /// The calls as we make them: engines before 29 do not tell the endpoint's name.
    fn expected(&self) -> Vec<(String, Option<Value>)> {
        let is_run = self.command.starts_with("docker run");
        let calls = self.calls.iter().map(|(path, request, _)| {
            let mut request = request.clone();
            if is_run && path.ends_with("RequestAddress") {
                let name = self.flag("--name").next().unwrap_or("c0");
                request["Options"]["com.docker.network.endpoint.name"] = name.into();
            }
            (path.clone(), Some(request))
        });
        calls.collect()
    }
}

#[tokio::test]
async fn for_the_same_commands_a_plugin_is_asked_what_engines_ask_it() {
    let steps: Vec<Step> =
        serde_json::from_str(include_str!("../../../tests/vectors/ipam.json")).unwrap();
    assert!(steps.len() > 30);
    // The pools of the network that a scenario is about, with what else it holds.
    let mut pools: Vec<RemotePool> = Vec::new();
    let mut held: Vec<Given> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let what = format!("{}: {}", step.recording, step.command);
        let fake = Fake::start(&format!("transcript-{number}"), step.script());
        let give_up = SHORT.give_up();
        let driver = fake.plugins().ipam("fake", give_up).await.unwrap();
        let mut haul = Haul::default();
        let result = if step.command.starts_with("docker network create") {
            let (wishes, options) = (step.wishes(), step.options());
            let grants = grant::network(&driver, &wishes, &options, &[], give_up, &mut haul).await;
            grants.map(|grants| {
                let given = |own: &SubnetSpec| {
                    let &SubnetSpec { ip_range, gateway, ref aux, ref pool, .. } = own;
                    let (subnet, aux) = (own.subnet.unwrap(), aux.clone());
                    Subnet { subnet, ip_range, gateway, aux, pool: pool.clone() }.given()
                };
                held = grants.iter().flat_map(given).collect();
                let pool = |own: SubnetSpec| RemotePool {
                    id: own.pool.unwrap(),
                    subnet: own.subnet.unwrap(),
                    gateway: None,
                };
                pools = grants.into_iter().map(pool).collect();
            })
        } else if step.command.starts_with("docker run") {
            let flags = step.flag("--ip").chain(step.flag("--ip6"));
            let addresses: Vec<IpAddr> = flags.map(|text| text.parse().unwrap()).collect();
            // The engine drew one where the user gave none.
            let drawn = &step.calls[0].1["Options"]["com.docker.network.endpoint.macaddress"];
            let mac = drawn.as_str().map(|mac| mac.parse().unwrap());
            let name = step.flag("--name").next().unwrap_or("c0");
            let wish = EndpointWish { name, mac, addresses: &addresses };
            grant::endpoint(&driver, &pools, wish, give_up, &mut haul).await.map(drop)
        } else {
            haul.kept = std::mem::take(&mut held);
            haul.kept.reverse();
            Ok(())
        };
        let is_given_back = result.is_err() || !step.command.contains("create");
        let is_given_back = is_given_back && !step.command.contains("run -d");
        for given in haul.kept.iter().rev().filter(|_| is_given_back) {
            // The engine leaves it to the pool's release to free the addresses in it.
            let is_implied = result.is_err() && matches!(given, Given::Address { .. });
            if !is_implied {
                let _ = driver.give_back(given, give_up).await;
            }
        }
        assert_eq!(fake.asked(), step.expected(), "{what}");
        match (&step.stderr, result) {
            (None, result) => result.unwrap(),
            (Some(stderr), result) => {
                let error = crate::cli::chain(&result.unwrap_err());
                assert!(stderr.ends_with(&error), "{what}: {error}");
            }
        }
    }
}
