//! `/containers…`: sandboxes, as Docker tells of containers; for looking only.

use std::collections::BTreeMap;
use std::iter;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::filters::{self, Filters};
use super::moment;
use super::words::no_such_container;
use crate::api::shapes::Assigned;
use crate::cnm::Model;
use crate::control::failure::Rejected;
use crate::control::sandboxes::{Attached, Sandbox};
use crate::control::{Control, unix_millis};

/// What the list can be narrowed down by.
const FILTERS: [&str; 5] = ["id", "label", "name", "network", "status"];

pub(super) async fn list(
    State(control): State<Control>,
    Query(query): Query<filters::Query>,
) -> Result<Json<Vec<Value>>, Rejected> {
    let filters = Filters::read(&query, &FILTERS)?;
    let (names, ids) = (filters.patterns("name")?, filters.patterns("id")?);
    let state = control.state();
    let is_in = |sandbox: &Sandbox, wanted: &str| {
        let networks = sandbox.endpoints.iter().map(|own| (&own.assigned.network, own.network));
        networks.into_iter().any(|(name, id)| name == wanted || id.to_string().starts_with(wanted))
    };
    let is_meant = |sandbox: &&Sandbox| {
        // Docker's names of containers begin with a slash, for those who know.
        (names.fit(&sandbox.name) || names.fit(&format!("/{}", sandbox.name)))
            && ids.fit(&sandbox.id.to_string())
            && filters.passes("network", |network| is_in(sandbox, network))
            && filters.passes("status", |status| status == "running")
            && filters.values("label").is_empty()
    };
    let mut sandboxes: Vec<&Sandbox> = state.sandboxes.values().filter(is_meant).collect();
    // The newest first, as Docker lists them.
    sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.since));
    Ok(Json(sandboxes.into_iter().map(|sandbox| line(sandbox, &state.model)).collect()))
}

pub(super) async fn inspect(
    State(control): State<Control>,
    Path(reference): Path<String>,
) -> Result<Json<Value>, Rejected> {
    let state = control.state();
    let found = state.find(reference.trim_start_matches('/'));
    let sandbox = found.ok_or_else(|| no_such_container(&reference))?;
    Ok(Json(described(sandbox, &state.model)))
}

fn line(sandbox: &Sandbox, model: &Model) -> Value {
    let age_s = sandbox.since.elapsed().as_secs();
    json!({
        "Id": sandbox.id.to_string(),
        "Names": [format!("/{}", sandbox.name)],
        "Image": "",
        "ImageID": "",
        "Command": sandbox.command.join(" "),
        "Created": (unix_millis() / 1000).saturating_sub(age_s),
        "Ports": [],
        "Labels": {},
        "State": "running",
        "Status": format!("Up {age_s} seconds"),
        "HostConfig": { "NetworkMode": mode(sandbox) },
        "NetworkSettings": { "Networks": networks(sandbox, model) },
        "Mounts": [],
    })
}

fn described(sandbox: &Sandbox, model: &Model) -> Value {
    let started = moment::rfc3339(
        unix_millis()
            .saturating_sub(u64::try_from(sandbox.since.elapsed().as_millis()).unwrap_or(0)),
    );
    let pid = sandbox.pid.unwrap_or_default();
    let (path, arguments) = match sandbox.command.split_first() {
        Some((path, arguments)) => (path.as_str(), arguments),
        None => ("", &[][..]),
    };
    let sandbox_key = if pid == 0 { String::new() } else { format!("/proc/{pid}/ns/net") };
    json!({
        "Id": sandbox.id.to_string(),
        "Created": started,
        "Path": path,
        "Args": arguments,
        "Name": format!("/{}", sandbox.name),
        "Image": "",
        "Platform": "linux",
        "RestartCount": 0,
        "State": {
            "Status": "running",
            "Running": true,
            "Paused": false,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": false,
            "Pid": pid,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": started,
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "Config": {
            "Hostname": sandbox.name,
            "Image": "",
            "Cmd": sandbox.command,
            "Env": [],
            "Labels": {},
        },
        "HostConfig": { "NetworkMode": mode(sandbox) },
        "NetworkSettings": {
            "SandboxID": sandbox.id.to_string(),
            "SandboxKey": sandbox_key,
            "Ports": {},
            "Networks": networks(sandbox, model),
        },
        "Mounts": [],
    })
}

/// The network that a sandbox was started on.
fn mode(sandbox: &Sandbox) -> &str {
    sandbox.endpoints.first().map_or("none", |first| &first.assigned.network)
}

fn networks(sandbox: &Sandbox, model: &Model) -> BTreeMap<String, Value> {
    let settings =
        |own: &Attached| (own.assigned.network.clone(), settings(own, &sandbox.name, model));
    sandbox.endpoints.iter().map(settings).collect()
}

fn settings(attached: &Attached, name: &str, model: &Model) -> Value {
    let Assigned { id, mac, addresses, aliases, port, .. } = &attached.assigned;
    let of_family = |is_ipv6| addresses.iter().find(|address| address.is_ipv6() == is_ipv6);
    let (ip, ip6) = (of_family(false), of_family(true));
    let text = |address: Option<&ipnetwork::IpNetwork>| {
        address.map_or_else(String::new, |address| address.ip().to_string())
    };
    let names: Vec<&str> = iter::once(name).chain(aliases.iter().map(String::as_str)).collect();
    let network = model.network(attached.network);
    let gateway = |is_ipv6| {
        let mut gateways = network.into_iter().flat_map(crate::cnm::Network::gateways);
        let found = gateways.find(|gateway| gateway.is_ipv6() == is_ipv6);
        found.map_or_else(String::new, |gateway| gateway.to_string())
    };
    json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": aliases,
        "MacAddress": if *port { mac.as_str() } else { "" },
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": attached.network.to_string(),
        "EndpointID": id.to_string(),
        "Gateway": gateway(false),
        "IPAddress": text(ip),
        "IPPrefixLen": ip.map_or(0, |ip| ip.prefix()),
        "IPv6Gateway": gateway(true),
        "GlobalIPv6Address": text(ip6),
        "GlobalIPv6PrefixLen": ip6.map_or(0, |ip| ip.prefix()),
        "DNSNames": names,
    })
}
