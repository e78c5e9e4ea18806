//! `/networks…`: networks listed, inspected, made and removed; sandboxes connected to them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use ipnetwork::IpNetwork;

use super::filters::{self, Filters};
use super::shapes::{
    ConfigFrom, Connect, CreateNetwork, Created, Disconnect, EndpointConfig, Ipam, IpamConfig,
    Member, Network, Pairs, Pruned,
};
use super::words::{in_dockers_words, no_such_container};
use super::{moment, read};
use crate::api::shapes::EndpointRequest;
use crate::cnm::declared::BUILT_IN;
use crate::cnm::{self, Driver, Id, IpamDriver, NetworkOptions, NetworkSpec, Origin, SubnetSpec};
use crate::control::failure::Rejected;
use crate::control::{Control, new_id, unix_millis};

/// What `GET /networks` can be narrowed down by.
const LIST_FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
/// What `POST /networks/prune` can be narrowed down by.
const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];
/// Docker's key for the MTU, and ours.
const MTU: (&str, &str) = ("com.docker.network.driver.mtu", "mtu");
/// Docker's key for the name of a device inside.
const IFNAME: &str = "com.docker.network.endpoint.ifname";
/// What is said of networks that are templates for others.
const NO_TEMPLATES: &str = "config-only networks are not in this version";
/// The only scope there is.
const SCOPE: &str = "local";

pub(super) async fn list(
    State(control): State<Control>,
    Query(query): Query<filters::Query>,
) -> Result<Json<Vec<Network>>, Rejected> {
    let filters = Filters::read(&query, &LIST_FILTERS)?;
    let dangling = filters.truth("dangling")?;
    let types = filters.values("type");
    if let Some(unknown) = types.iter().find(|kind| !["custom", "builtin"].contains(&&***kind)) {
        return Err(Rejected::new(400, format!("invalid filter: 'type'='{unknown}'")));
    }
    let (names, ids) = (filters.patterns("name")?, filters.patterns("id")?);
    let state = control.state();
    let is_meant = |network: &&cnm::Network| {
        let is_built_in = network.origin == Origin::BuiltIn;
        let is_unused = || state.model.endpoints_of(network.id).next().is_none();
        names.fit(&network.name)
            && ids.fit(&network.id.to_string())
            && filters.passes("driver", |driver| driver_named(driver) == Some(network.driver))
            && filters.passes("scope", |scope| scope == SCOPE)
            && filters.passes("type", |kind| (kind == "builtin") == is_built_in)
            && filters.has_labels("label", &network.labels)
            && dangling.is_none_or(|dangling| dangling == (is_unused() && !is_built_in))
    };
    Ok(Json(state.model.networks().filter(is_meant).map(described).collect()))
}

/// What `GET /networks/{id}` may say besides.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Inspect {
    #[serde(default)]
    scope: String,
}

pub(super) async fn inspect(
    State(control): State<Control>,
    Path(reference): Path<String>,
    Query(Inspect { scope }): Query<Inspect>,
) -> Result<Json<Network>, Rejected> {
    if !["", SCOPE].contains(&&*scope) {
        return Err(Rejected::new(404, format!("network {reference} not found in scope {scope}")));
    }
    let state = control.state();
    let found = state.model.resolve(&reference);
    let network = found.map_err(|refusal| in_dockers_words(refusal.into()))?;
    let containers = state.model.endpoints_of(network.id).map(|endpoint| {
        let sandbox = match endpoint.origin {
            Origin::File => state.serving(endpoint.id),
            Origin::Api | Origin::BuiltIn | Origin::Docker => endpoint.sandbox,
        };
        // An endpoint of the file waits for its sandbox under its own id, as Docker's do.
        let key = sandbox.map_or_else(|| format!("ep-{}", endpoint.id), |id| id.to_string());
        (key, member(endpoint))
    });
    Ok(Json(Network { containers: containers.collect(), ..described(network) }))
}

pub(super) async fn create(
    State(control): State<Control>,
    body: Bytes,
) -> Result<(StatusCode, Json<Created>), Rejected> {
    let spec = spec(read(&body)?)?;
    let id = control.create_network(spec).await.map_err(in_dockers_words)?;
    Ok((StatusCode::CREATED, Json(Created { id: id.to_string(), warning: String::new() })))
}

pub(super) async fn remove(
    State(control): State<Control>,
    Path(reference): Path<String>,
) -> Result<StatusCode, Rejected> {
    control.remove_network(reference).await.map_err(in_dockers_words)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(
    State(control): State<Control>,
    Query(query): Query<filters::Query>,
) -> Result<Json<Pruned>, Rejected> {
    let filters = Filters::read(&query, &PRUNE_FILTERS)?;
    let until = match filters.values("until") {
        [] => None,
        [text] => Some(
            moment::read(text, unix_millis())
                .ok_or_else(|| Rejected::new(400, format!("invalid filter 'until={text}'")))?,
        ),
        _ => return Err(Rejected::new(400, "more than one until filter specified")),
    };
    let is_meant = move |network: &cnm::Network| {
        until.is_none_or(|until| network.created < until)
            && filters.has_labels("label", &network.labels)
            && !filters.has_any_label("label!", &network.labels)
    };
    let networks_deleted = control.prune_networks(is_meant).await?;
    Ok(Json(Pruned { networks_deleted }))
}

pub(super) async fn connect(
    State(control): State<Control>,
    Path(reference): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Rejected> {
    let Connect { container, endpoint_config } = read(&body)?;
    let (network, sandbox) = find(&control, &reference, &container)?;
    let wanted = wanted(network, &endpoint_config)?;
    // A client that does not wait any more leaves nothing half done.
    let joining = tokio::spawn(async move { control.join(sandbox, wanted).await });
    let joined = joining.await.map_err(|error| Rejected::new(500, error.to_string()))?;
    joined.map_err(in_dockers_words)?;
    Ok(StatusCode::OK)
}

pub(super) async fn disconnect(
    State(control): State<Control>,
    Path(reference): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Rejected> {
    // Nobody has to agree to leave a network, so `force` changes nothing.
    let Disconnect { container, force: _ } = read(&body)?;
    let (network, sandbox) = find(&control, &reference, &container)?;
    control.leave(sandbox, network).await.map_err(in_dockers_words)?;
    Ok(StatusCode::OK)
}

fn find(control: &Control, network: &str, container: &str) -> Result<(Id, Id), Rejected> {
    let state = control.state();
    let found = state.model.resolve(network);
    let network = found.map_err(|refusal| in_dockers_words(refusal.into()))?;
    let sandbox = state.find(container.trim_start_matches('/'));
    let sandbox = sandbox.ok_or_else(|| no_such_container(container))?;
    Ok((network.id, sandbox.id))
}

/// What a sandbox wishes for when it is connected.
fn wanted(network: Id, config: &EndpointConfig) -> Result<EndpointRequest, Rejected> {
    let refuse =
        |what: String| Err(Rejected::new(400, format!("invalid endpoint settings: {what}")));
    let addresses = &config.ipam_config;
    if !config.links.is_empty() {
        return refuse("there are no links; neighbours find each other by name".to_owned());
    }
    if !addresses.link_local_ips.is_empty() {
        return refuse("link-local addresses are left to the kernel".to_owned());
    }
    if config.gw_priority != 0 {
        return refuse("this version has no gateways to choose from".to_owned());
    }
    let mut ifname = None;
    for (key, value) in &config.driver_opts {
        if key != IFNAME {
            return refuse(format!("unknown driver option {key:?}; {IFNAME} is known"));
        }
        ifname = Some(value.clone());
    }
    Ok(EndpointRequest {
        id: None,
        network: network.to_string(),
        ip: given(&addresses.ipv4_address, "IPv4 address")?,
        ip6: given(&addresses.ipv6_address, "IPv6 address")?,
        mac: Some(config.mac_address.clone()).filter(|mac| !mac.is_empty()),
        aliases: config.aliases.clone(),
        ifname,
    })
}

fn given<T: std::str::FromStr>(text: &str, what: &str) -> Result<Option<T>, Rejected> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused =
        |_| Rejected::new(400, format!("invalid endpoint settings: invalid {what}: {text}"));
    text.parse().map(Some).map_err(refused)
}

/// The wish that a request stands for.
fn spec(request: CreateNetwork) -> Result<NetworkSpec, Rejected> {
    let refuse = |status, what: &str| Err(Rejected::new(status, what));
    let name = request.name;
    if name.is_empty() {
        return refuse(400, "invalid network name: name is empty");
    }
    if BUILT_IN.contains(&&*name) || name == "default" {
        let what = format!("operation is not permitted on predefined {name} network");
        return Err(Rejected::new(403, what));
    }
    if request.ingress {
        let what = "Ingress network can only be global scope network: there is no swarm here";
        return refuse(403, what);
    }
    if let Some(ConfigFrom { network }) =
        request.config_from.filter(|from| !from.network.is_empty())
    {
        let what = format!("configuration network {network:?} does not exist: {NO_TEMPLATES}");
        return Err(Rejected::new(404, what));
    }
    if request.config_only {
        return refuse(400, NO_TEMPLATES);
    }
    match request.scope.as_str() {
        "" | SCOPE => {}
        "swarm" => {
            return refuse(403, "cannot create a swarm scoped network when swarm is not active");
        }
        other => {
            let what = format!("scope {other:?} is not in this version; the scope is {SCOPE}");
            return Err(Rejected::new(400, what));
        }
    }
    let driver = match driver_named(&request.driver) {
        Some(driver) => driver,
        None => request.driver.parse().map_err(|error: cnm::DriverError| refused(error.into()))?,
    };
    let ipam = ipam(&request.ipam)?;
    let pairs = request.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let options = NetworkOptions::parse(pairs).map_err(|error| refused(error.into()))?;
    let ipv4 = request.enable_ipv4.unwrap_or(true);
    let mut subnets = subnets(&request.ipam.config)?;
    // Docker's networks have IPv4 unless they are told not to, whatever else they have.
    let has_ipv4 = subnets.iter().any(|own| own.subnet.is_none_or(|subnet| subnet.is_ipv4()));
    if ipv4 && !has_ipv4 && !subnets.is_empty() {
        subnets.insert(0, SubnetSpec::default());
    }
    Ok(NetworkSpec {
        id: new_id().map_err(|error| Rejected::new(500, error.to_string()))?,
        name,
        driver,
        subnets,
        internal: request.internal,
        attachable: request.attachable,
        ipv4,
        ipv6: request.enable_ipv6.unwrap_or_default(),
        ipam,
        options,
        labels: request.labels,
        origin: Origin::Api,
        created: unix_millis(),
    })
}

fn refused(refusal: cnm::Refusal) -> Rejected {
    in_dockers_words(refusal.into())
}

fn ipam(request: &Ipam) -> Result<cnm::Ipam, Rejected> {
    let driver = match request.driver.as_str() {
        "" => IpamDriver::Default,
        name => name.parse().map_err(|error: cnm::IpamDriverError| refused(error.into()))?,
    };
    Ok(cnm::Ipam { driver, options: request.options.clone() })
}

fn subnets(config: &[IpamConfig]) -> Result<Vec<SubnetSpec>, Rejected> {
    config.iter().filter(|own| **own != IpamConfig::default()).map(subnet).collect()
}

fn subnet(config: &IpamConfig) -> Result<SubnetSpec, Rejected> {
    fn read<T: std::str::FromStr>(text: &str, what: &str) -> Result<Option<T>, Rejected> {
        let refused =
            |_| Rejected::new(400, format!("invalid network config: invalid {what} {text}"));
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(refused) }
    }
    let mut aux = BTreeMap::new();
    for (name, address) in &config.auxiliary_addresses {
        if let Some(address) = read(address, "auxiliary address")? {
            aux.insert(name.clone(), address);
        }
    }
    Ok(SubnetSpec {
        subnet: read(&config.subnet, "subnet")?,
        ip_range: read(&config.ip_range, "ip-range")?,
        gateway: read(&config.gateway, "gateway")?,
        aux,
        pool: None,
    })
}

/// The driver that Docker, or weft, calls so.
fn driver_named(name: &str) -> Option<Driver> {
    match name {
        "" | "default" => Some(Driver::Bridge),
        "null" => Some(Driver::None),
        name => name.parse().ok(),
    }
}

/// What Docker calls a driver.
pub(super) fn driver_name(driver: Driver) -> &'static str {
    match driver {
        Driver::None => "null",
        Driver::Bridge | Driver::Macvlan | Driver::Host | Driver::Added(_) => driver.name(),
    }
}

/// A network in Docker's shape, without who is in it.
fn described(network: &cnm::Network) -> Network {
    let options = network.options.chosen().into_iter().map(|(key, value)| {
        let key = if key == MTU.1 { MTU.0 } else { key };
        (key.to_owned(), value)
    });
    Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: moment::rfc3339(network.created),
        scope: SCOPE.to_owned(),
        driver: driver_name(network.driver).to_owned(),
        enable_ipv4: network.ipv4,
        enable_ipv6: network.ipv6,
        ipam: Ipam {
            driver: network.ipam.driver.to_string(),
            options: network.ipam.options.clone(),
            config: configs(network),
        },
        internal: network.internal,
        attachable: network.attachable,
        options: options.collect(),
        labels: network.labels.clone(),
        ..Network::default()
    }
}

fn configs(network: &cnm::Network) -> Vec<IpamConfig> {
    if network.ipam.driver == IpamDriver::Null {
        // As the engine tells it.
        let families = [(network.ipv4, "0.0.0.0/0"), (network.ipv6, "::/0")];
        let subnets = families.into_iter().filter(|(is_there, _)| *is_there);
        let config = |subnet: &str| IpamConfig { subnet: subnet.to_owned(), ..Default::default() };
        return subnets.map(|(_, subnet)| config(subnet)).collect();
    }
    let texts = |aux: &BTreeMap<String, std::net::IpAddr>| -> Pairs {
        aux.iter().map(|(name, address)| (name.clone(), address.to_string())).collect()
    };
    // IPv4 first, as the engine tells it: clients name subnets in any order.
    let mut subnets: Vec<&cnm::Subnet> = network.subnets.iter().collect();
    subnets.sort_by_key(|own| own.subnet.is_ipv6());
    let config = |own: &cnm::Subnet| IpamConfig {
        subnet: own.subnet.to_string(),
        ip_range: own.ip_range.map_or_else(String::new, |range| range.to_string()),
        gateway: own.gateway.map_or_else(String::new, |gateway| gateway.to_string()),
        auxiliary_addresses: texts(&own.aux),
    };
    subnets.into_iter().map(config).collect()
}

fn member(endpoint: &cnm::Endpoint) -> Member {
    let of_family = |is_ipv6| {
        let found = endpoint.addresses.iter().find(|address| address.is_ipv6() == is_ipv6);
        found.map_or_else(String::new, IpNetwork::to_string)
    };
    Member {
        name: endpoint.name.clone(),
        endpoint_id: endpoint.id.to_string(),
        mac_address: endpoint.mac.map_or_else(String::new, |mac| mac.to_string()),
        ipv4_address: of_family(false),
        ipv6_address: of_family(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> Result<NetworkSpec, Rejected> {
        spec(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_request_becomes_a_wish() {
        let wish = request(
            r#"{"Name": "blue", "Internal": true, "Attachable": true, "EnableIPv6": true,
                "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.128/25",
                "Gateway": "10.0.0.254", "AuxiliaryAddresses": {"printer": "10.0.0.9"}}, {}]},
                "Options": {"com.docker.network.driver.mtu": "1400", "isolated": "true"},
                "Labels": {"tier": "back"}}"#,
        )
        .unwrap();
        assert_eq!(wish.driver, Driver::Bridge);
        assert!(wish.internal && wish.attachable && wish.ipv4 && wish.ipv6);
        assert_eq!((wish.options.mtu, wish.options.live.isolated), (1400, true));
        let subnet = SubnetSpec {
            subnet: Some("10.0.0.0/24".parse().unwrap()),
            ip_range: Some("10.0.0.128/25".parse().unwrap()),
            gateway: Some("10.0.0.254".parse().unwrap()),
            aux: BTreeMap::from([("printer".to_owned(), "10.0.0.9".parse().unwrap())]),
            pool: None,
        };
        assert_eq!(wish.subnets, [subnet]);
        assert_eq!(wish.labels["tier"], "back");
        assert_eq!(wish.origin, Origin::Api);
    }

    #[test]
    fn docker_gives_ipv4_to_a_network_that_names_an_ipv6_subnet_only() {
        let with = |ipv4: &str| {
            let json = format!(
                r#"{{"Name": "six", "EnableIPv4": {ipv4}, "EnableIPv6": true,
                    "IPAM": {{"Config": [{{"Subnet": "fd00::/64"}}]}}}}"#
            );
            request(&json).unwrap().subnets.len()
        };
        assert_eq!((with("null"), with("true"), with("false")), (2, 2, 1));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_engines_status() {
        let cases = [
            (r#"{}"#, 400, "invalid network name"),
            (
                r#"{"Name": "bridge"}"#,
                403,
                "operation is not permitted on predefined bridge network",
            ),
            (r#"{"Name": "a", "Ingress": true}"#, 403, "Ingress network can only be global scope"),
            (r#"{"Name": "a", "ConfigOnly": true}"#, 400, "config-only networks"),
            (
                r#"{"Name": "a", "ConfigFrom": {"Network": "b"}}"#,
                404,
                "configuration network \"b\" does not exist",
            ),
            (r#"{"Name": "a", "Scope": "swarm"}"#, 403, "cannot create a swarm scoped network"),
            (r#"{"Name": "a", "Scope": "town"}"#, 400, "scope \"town\""),
            (r#"{"Name": "a", "Driver": "brige"}"#, 404, "plugin \"brige\" not found"),
            (r#"{"Name": "a", "Driver": "overlay"}"#, 400, "driver overlay is not in this version"),
            (r#"{"Name": "a", "IPAM": {"Driver": "a/b"}}"#, 404, "plugin \"a/b\" not found"),
            (r#"{"Name": "a", "Options": {"colour": "red"}}"#, 400, "unknown option \"colour\""),
            (
                r#"{"Name": "a", "IPAM": {"Config": [{"Subnet": "x"}]}}"#,
                400,
                "invalid network config: invalid subnet x",
            ),
        ];
        for (json, status, words) in cases {
            let rejected = request(json).unwrap_err();
            assert_eq!(rejected.status, status, "{json}: {rejected:?}");
            assert!(rejected.failure.message.starts_with(words), "{json}: {rejected:?}");
        }
    }

    #[test]
    fn drivers_go_by_dockers_names_and_by_ours() {
        let cases = [
            ("", Some(Driver::Bridge)),
            ("default", Some(Driver::Bridge)),
            ("bridge", Some(Driver::Bridge)),
            ("null", Some(Driver::None)),
            ("none", Some(Driver::None)),
            ("host", Some(Driver::Host)),
            ("overlay", None),
        ];
        for (name, driver) in cases {
            assert_eq!(driver_named(name), driver, "{name}");
        }
        for driver in Driver::ALL {
            assert_eq!(driver_named(driver_name(driver)), Some(driver));
        }
    }

    #[test]
    fn what_a_sandbox_cannot_have_is_refused_when_it_is_connected() {
        let ask = |json: &str| wanted(Id::new([1; 32]), &serde_json::from_str(json).unwrap());
        let asked = ask(r#"{"IPAMConfig": {"IPv4Address": "10.0.0.7"}, "Aliases": ["www"],
                "DriverOpts": {"com.docker.network.endpoint.ifname": "lan0"}}"#);
        let asked = asked.unwrap();
        assert_eq!(asked.ip, Some(std::net::Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(
            (asked.aliases, asked.ifname),
            (vec!["www".to_owned()], Some("lan0".to_owned()))
        );
        for json in [
            r#"{"IPAMConfig": {"IPv4Address": "fd00::1"}}"#,
            r#"{"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}}"#,
            r#"{"Links": ["a:b"]}"#,
            r#"{"GwPriority": 1}"#,
            r#"{"DriverOpts": {"colour": "red"}}"#,
        ] {
            assert_eq!(ask(json).unwrap_err().status, 400, "{json}");
        }
    }
}
