//! `weft network`: Docker's verbs, over Docker's API.

pub mod args;
mod create;
mod list;

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::template::Template;
use super::{Complaint, say};
use crate::api::client::{Client, ClientError, escaped};
use crate::api::docker::shapes::{self, EndpointConfig, Pairs, Pruned, WantedAddresses};
use crate::sandbox::on_demand;
use args::{Connect, Disconnect, Inspect, Prune, Rm, Verb};

/// Does what a verb says. Networks outlive appliances, so when none is running one is started for
/// the occasion; it ends by itself.
pub(super) fn network(verb: Verb, client: &Client) -> Result<ExitCode, Complaint> {
    if client.is_stale() {
        on_demand::start(client.socket()).map_err(|error| Complaint::new(&error))?;
    }
    match verb {
        Verb::Create(create) => create::create(*create, client),
        Verb::Ls(ls) => list::list(&ls, client),
        Verb::Inspect(asked) => inspect(&asked, client),
        Verb::Rm(rm) => remove(&rm, client),
        Verb::Connect(wanted) => connect(wanted, client),
        Verb::Disconnect(wanted) => disconnect(wanted, client),
        Verb::Prune(prune) => self::prune(&prune, client),
    }
}

/// Prints what there is of what was asked for; then complains of the rest.
fn inspect(asked: &Inspect, client: &Client) -> Result<ExitCode, Complaint> {
    let template = match asked.format.as_str() {
        "" | "json" => None,
        text => Some(Template::read(text)?),
    };
    let mut found: Vec<Value> = Vec::new();
    let mut missing = Vec::new();
    for name in &asked.networks {
        match client.get(&format!("/networks/{}", escaped(name))) {
            Ok(network) => found.push(network),
            Err(error @ ClientError::Refused(_)) => missing.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    match template {
        Some(template) => {
            for network in &found {
                say(&template.fill(network)?);
            }
        }
        None => {
            let text = serde_json::to_string_pretty(&found);
            say(&text.map_err(|error| Complaint::new(&error))?);
        }
    }
    all_done(missing)
}

fn remove(rm: &Rm, client: &Client) -> Result<ExitCode, Complaint> {
    let mut failed = Vec::new();
    for name in &rm.networks {
        match client.delete(&format!("/networks/{}", escaped(name))) {
            Ok(()) => say(name),
            Err(ClientError::Refused(failure)) if rm.force && is_missing(&failure.message) => {}
            Err(error @ ClientError::Refused(_)) => failed.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    all_done(failed)
}

fn is_missing(message: &str) -> bool {
    message.ends_with(" not found")
}

/// The first failure is the command's; the others are told before it.
fn all_done(failed: Vec<ClientError>) -> Result<ExitCode, Complaint> {
    let mut failed = failed.into_iter().map(Complaint::from);
    let Some(mut last) = failed.next() else { return Ok(ExitCode::SUCCESS) };
    for next in failed {
        eprint!("{}", last.printed());
        last = next;
    }
    Err(last)
}

fn connect(wanted: Connect, client: &Client) -> Result<ExitCode, Complaint> {
    let Connect { network, container, ip, ip6, mac_address, aliases, driver_opts } = wanted;
    let endpoint_config = EndpointConfig {
        ipam_config: WantedAddresses {
            ipv4_address: ip,
            ipv6_address: ip6,
            link_local_ips: Vec::new(),
        },
        aliases,
        mac_address,
        driver_opts: pairs(&driver_opts),
        ..EndpointConfig::default()
    };
    let body = shapes::Connect { container, endpoint_config };
    let _: () = client.post(&format!("/networks/{}/connect", escaped(&network)), &body)?;
    Ok(ExitCode::SUCCESS)
}

fn disconnect(wanted: Disconnect, client: &Client) -> Result<ExitCode, Complaint> {
    let Disconnect { network, container, force } = wanted;
    let body = shapes::Disconnect { container, force };
    let _: () = client.post(&format!("/networks/{}/disconnect", escaped(&network)), &body)?;
    Ok(ExitCode::SUCCESS)
}

fn prune(prune: &Prune, client: &Client) -> Result<ExitCode, Complaint> {
    if !prune.force && !is_agreed()? {
        return Ok(ExitCode::FAILURE);
    }
    let path = format!("/networks/prune{}", query(&prune.filters)?);
    let Pruned { networks_deleted } = client.post(&path, &())?;
    if !networks_deleted.is_empty() {
        say(&format!("Deleted Networks:\n{}\n", networks_deleted.join("\n")));
    }
    Ok(ExitCode::SUCCESS)
}

fn is_agreed() -> Result<bool, Complaint> {
    let stdin = std::io::stdin();
    print!(
        "WARNING! This will remove all custom networks not used by at least one sandbox.\n\
         Are you sure you want to continue? [y/N] "
    );
    // Where nobody reads the question, the answer is what counts.
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.map_err(|error| Complaint::new(&error))?;
    if !stdin.is_terminal() {
        say("");
    }
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// The query of a request that is narrowed down by `KEY=VALUE`s.
fn query(filters: &[String]) -> Result<String, Complaint> {
    if filters.is_empty() {
        return Ok(String::new());
    }
    let mut read: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for filter in filters {
        let Some((key, value)) = filter.split_once('=') else {
            let text = format!("invalid filter {filter:?}: a filter is KEY=VALUE");
            return Err(Complaint::text(text));
        };
        read.entry(key).or_default().insert(value, true);
    }
    let text = serde_json::to_string(&read).map_err(|error| Complaint::new(&error))?;
    Ok(format!("?filters={}", escaped(&text)))
}

/// `KEY=VALUE`s; a key alone has an empty value.
fn pairs(texts: &[String]) -> Pairs {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    texts.iter().map(pair).collect()
}
