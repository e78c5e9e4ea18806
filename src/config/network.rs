//! `[networks.NAME]`: one network each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use ipnetwork::IpNetwork;
use toml::Spanned;
use toml::de::DeValue;

use super::finding::Findings;
use super::keys::{Form, Keys, Takes, key};
use super::section::{Alone, Entry, Section};
use crate::cnm::declared::BUILT_IN;
use crate::cnm::id::{is_name, listed};
use crate::cnm::network::MAX_SUBNETS;
use crate::cnm::{
    DeclaredNetwork, Driver, Ipam, IpamDriver, IpamDriverError, NetworkOptions, SubnetSpec,
};

pub(super) static KEYS: Keys = Keys::new(&[
    key("driver", Takes::Word(drivers)).or("\"bridge\""),
    key("subnets", texts(Form::SUBNET, MAX_SUBNETS)),
    key("gateway", texts(Form::ADDRESS, usize::MAX)),
    key("ip-range", texts(Form::SUBNET, usize::MAX)),
    key("aux-addresses", Takes::Map { names: Form::ANY, to: &Takes::Text(Form::ADDRESS) }),
    key("internal", Takes::Truth).or("false"),
    key("attachable", Takes::Truth).or("false"),
    key("ipv4", Takes::Truth).or("true"),
    key("ipv6", Takes::Truth).or("false"),
    key("ipam", Takes::Either(&[OWN_IPAM, PLUGIN, Takes::Table(&IPAM)])).or("\"default\""),
    key("options", Takes::Options),
    key("labels", TEXT_MAP),
])
.later(&[
    ("vni", "this version has no tunnels"),
    ("peers", "this version has no tunnels"),
    ("learn-peers", "this version has no tunnels"),
]);

fn drivers() -> Vec<&'static str> {
    Driver::known().into_iter().map(Driver::name).collect()
}

static IPAM: Keys = Keys::new(&[
    key("driver", Takes::Either(&[OWN_IPAM, PLUGIN])).or("\"default\""),
    key("options", TEXT_MAP),
]);

const OWN_IPAM: Takes = Takes::Word(|| vec!["default", "null"]);

const PLUGIN: Takes = Takes::Text(Form::NAME);

const TEXT_MAP: Takes = Takes::Map { names: Form::ANY, to: &Takes::Text(Form::ANY) };

const fn texts(of: Form, most: usize) -> Takes {
    Takes::Texts { of, alone: Alone::Allowed, least: 0, most }
}

/// A network of the file, with where its values stand.
pub(super) struct NetworkSource {
    pub(super) name: String,
    pub(super) name_span: Range<usize>,
    pub(super) declared: DeclaredNetwork,
    /// Where each subnet, address and key stands, by its text.
    spots: Vec<(String, Range<usize>)>,
    /// Whether something in it was refused, so that nothing can be concluded from the rest.
    pub(super) is_broken: bool,
}

impl NetworkSource {
    /// Where a value or key with this text stands first.
    pub(super) fn spot(&self, text: &str) -> Option<Range<usize>> {
        self.spots.iter().find(|(spot, _)| spot == text).map(|(_, span)| span.clone())
    }

    /// Where a value or key with this text stands last.
    pub(super) fn spot_last(&self, text: &str) -> Option<Range<usize>> {
        self.spots.iter().rfind(|(spot, _)| spot == text).map(|(_, span)| span.clone())
    }
}

pub(super) fn read_all(root: &Section<'_>, findings: &mut Findings) -> Vec<NetworkSource> {
    let Some(networks) = root.section("networks", findings) else {
        return Vec::new();
    };
    let mut sources = Vec::new();
    for entry in networks.entries() {
        let before = findings.len();
        let (declared, spots) = match networks.inside(entry, findings) {
            Some(section) => read(&section.with_keys(&KEYS, findings), findings),
            None => Default::default(),
        };
        check_name(entry.key, &entry.key_span, findings);
        sources.push(NetworkSource {
            name: entry.key.to_owned(),
            name_span: entry.key_span.clone(),
            declared,
            spots,
            is_broken: findings.len() > before,
        });
    }
    sources
}

fn check_name(name: &str, span: &Range<usize>, findings: &mut Findings) {
    if BUILT_IN.contains(&name) {
        let help = format!("choose another name; {} always exist", listed(BUILT_IN));
        findings.add(span.clone(), format_args!("network {name} is built in"), help);
    } else if !is_name(name) {
        let help = "a letter or digit, then letters, digits, \"_\", \".\" and \"-\"; \
                    at most 63 characters";
        findings.add(span.clone(), format_args!("{name:?} cannot name a network"), help);
    }
}

type Spots = Vec<(String, Range<usize>)>;

fn read(section: &Section<'_>, findings: &mut Findings) -> (DeclaredNetwork, Spots) {
    let mut spots: Spots = section
        .entries()
        .iter()
        .map(|entry| (entry.key.to_owned(), entry.key_span.clone()))
        .collect();
    let driver = section.text("driver", findings).and_then(|word| read_driver(&word, findings));
    let subnets = read_subnets(section, &mut spots, findings);
    let declared = DeclaredNetwork {
        driver: driver.unwrap_or_default(),
        subnets,
        internal: section.truth("internal", findings).unwrap_or_default(),
        attachable: section.truth("attachable", findings).unwrap_or_default(),
        ipv4: section.truth("ipv4", findings).unwrap_or(true),
        ipv6: section.truth("ipv6", findings).unwrap_or_default(),
        ipam: read_ipam(section, findings),
        options: read_options(section, &mut spots, findings),
        labels: read_texts(section, "labels", findings),
    };
    (declared, spots)
}

fn read_driver(word: &Spanned<&str>, findings: &mut Findings) -> Option<Driver> {
    match word.get_ref().parse::<Driver>() {
        Ok(driver) => Some(driver),
        Err(error) => {
            findings.add(word.span(), &error, error.help());
            None
        }
    }
}

/// The subnets, each with the gateway, ip-range and auxiliary addresses that lie in it.
fn read_subnets(
    section: &Section<'_>,
    spots: &mut Spots,
    findings: &mut Findings,
) -> Vec<SubnetSpec> {
    let texts = section.texts("subnets", Alone::Allowed, findings);
    if let Some(extra) = texts.get(MAX_SUBNETS) {
        let message = format!("a network has at most {MAX_SUBNETS} subnets");
        findings.add(extra.span(), message, "make another network of the rest");
    }
    let mut subnets = Vec::new();
    for text in texts.iter().take(MAX_SUBNETS) {
        if let Some(subnet) = read_subnet(text, findings) {
            spots.push((subnet.get_ref().to_string(), subnet.span()));
            subnets.push(SubnetSpec { subnet: Some(*subnet.get_ref()), ..SubnetSpec::default() });
        } else {
            // What else lies in this subnet cannot be told.
            return subnets;
        }
    }
    read_gateways(section, &mut subnets, spots, findings);
    read_ranges(section, &mut subnets, spots, findings);
    read_aux(section, &mut subnets, spots, findings);
    subnets
}

/// A subnet in its usual notation.
pub(super) fn read_subnet(
    text: &Spanned<&str>,
    findings: &mut Findings,
) -> Option<Spanned<IpNetwork>> {
    let word = *text.get_ref();
    let how = "write ADDRESS/PREFIX, such as \"192.168.10.0/24\" or \"fd00:10::/64\"";
    match word.parse::<IpNetwork>() {
        Ok(subnet) if !word.contains('/') => {
            let message = format!("{word:?} has no prefix length");
            let prefix = if subnet.is_ipv6() { 64 } else { 24 };
            findings.add(text.span(), message, format_args!("such as \"{word}/{prefix}\""));
            None
        }
        Ok(subnet) if subnet.ip() != subnet.network() => {
            let message = format!("{word} is an address, not a subnet");
            let (network, prefix) = (subnet.network(), subnet.prefix());
            findings.add(
                text.span(),
                message,
                format_args!("did you mean \"{network}/{prefix}\"?"),
            );
            None
        }
        Ok(subnet) => Some(Spanned::new(text.span(), subnet)),
        Err(_) => {
            findings.add(text.span(), format_args!("{word:?} is not a subnet"), how);
            None
        }
    }
}

fn read_gateways(
    section: &Section<'_>,
    subnets: &mut [SubnetSpec],
    spots: &mut Spots,
    findings: &mut Findings,
) {
    for text in section.texts("gateway", Alone::Allowed, findings) {
        let Some(gateway) = read_address(&text, findings) else {
            continue;
        };
        spots.push((gateway.to_string(), text.span()));
        let Some(subnet) = home_of(("gateway", gateway), subnets, text.span(), findings) else {
            continue;
        };
        if let Some(first) = subnet.gateway.replace(gateway) {
            let message = format!("gateway {gateway} is the second of its subnet, after {first}");
            let help = "a subnet has one gateway; name the other in aux-addresses";
            findings.add(text.span(), message, help);
        }
    }
}

fn read_ranges(
    section: &Section<'_>,
    subnets: &mut [SubnetSpec],
    spots: &mut Spots,
    findings: &mut Findings,
) {
    for text in section.texts("ip-range", Alone::Allowed, findings) {
        let Some(range) = read_subnet(&text, findings) else {
            continue;
        };
        let range = *range.get_ref();
        spots.push((range.to_string(), text.span()));
        let home = home_of(("ip-range", range.ip()), subnets, text.span(), findings);
        let Some(subnet) = home else {
            continue;
        };
        if let Some(first) = subnet.ip_range.replace(range) {
            let message = format!("ip-range {range} is the second of its subnet, after {first}");
            findings.add(text.span(), message, "a subnet has one ip-range");
        }
    }
}

fn read_aux(
    section: &Section<'_>,
    subnets: &mut [SubnetSpec],
    spots: &mut Spots,
    findings: &mut Findings,
) {
    let Some(aux) = section.section("aux-addresses", findings) else {
        return;
    };
    for entry in aux.entries() {
        let Some(text) = entry.as_text(findings) else {
            continue;
        };
        let Some(address) = read_address(&text, findings) else {
            continue;
        };
        spots.push((format!("{}={address}", entry.key), text.span()));
        spots.push((address.to_string(), text.span()));
        let home = home_of(("auxiliary address", address), subnets, text.span(), findings);
        if let Some(subnet) = home {
            subnet.aux.insert(entry.key.to_owned(), address);
        }
    }
}

fn read_address(text: &Spanned<&str>, findings: &mut Findings) -> Option<IpAddr> {
    let address = text.get_ref().parse().ok();
    if address.is_none() {
        let message = format!("{:?} is not an IP address", text.get_ref());
        findings.add(text.span(), message, "write it such as \"192.168.10.1\" or \"fd00:10::1\"");
    }
    address
}

/// The subnet that an address lies in.
fn home_of<'a>(
    (what, address): (&str, IpAddr),
    subnets: &'a mut [SubnetSpec],
    span: Range<usize>,
    findings: &mut Findings,
) -> Option<&'a mut SubnetSpec> {
    let known: Vec<IpNetwork> = subnets.iter().filter_map(|spec| spec.subnet).collect();
    let lies_in = |spec: &&mut SubnetSpec| spec.subnet.is_some_and(|own| own.contains(address));
    let home = subnets.iter_mut().find(lies_in);
    if home.is_none() && known.is_empty() {
        let message = format!("{what} {address} belongs to no subnet: the network names none");
        findings.add(span, message, "name it, such as subnets = [\"192.168.10.0/24\"]");
    } else if home.is_none() {
        let message = format!("{what} {address} is outside the network's subnets");
        findings.add(span, message, format_args!("choose one inside {}", listed(known)));
    }
    home
}

fn read_options(
    section: &Section<'_>,
    spots: &mut Spots,
    findings: &mut Findings,
) -> NetworkOptions {
    let mut options = NetworkOptions::default();
    let Some(table) = section.section("options", findings) else {
        return options;
    };
    for entry in table.entries() {
        let value = match entry.value.get_ref() {
            DeValue::Table(_) if entry.key == "com" => {
                let help = "quote a name with dots: \"com.docker.network.driver.mtu\" = 1400";
                findings.add(entry.key_span.clone(), "unknown option \"com\"", help);
                continue;
            }
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                let takes = "a string, a whole number, true or false";
                entry.mistyped(takes, "write text in quotes", findings);
                continue;
            }
        };
        spots.push((entry.key.to_owned(), entry.value.span()));
        let is_text = entry.value.get_ref().is_str();
        match options.set(entry.key, &value) {
            Ok(()) if is_text || NetworkOptions::takes_numbers_and_truth(entry.key) => {}
            Ok(()) => entry.mistyped("a string", "write it in quotes", findings),
            Err(error) => {
                let span =
                    if error.is_about_key() { entry.key_span.clone() } else { entry.value.span() };
                findings.add(span, &error, error.help());
            }
        }
    }
    options
}

/// Who gives the addresses: the name of an IPAM driver, or a table with its name and options.
fn read_ipam(section: &Section<'_>, findings: &mut Findings) -> Ipam {
    let Some(entry) = section.entry("ipam") else {
        return Ipam::default();
    };
    let (name, options) = match entry.value.get_ref() {
        DeValue::Table(_) => {
            let Some(table) = section.table("ipam", &IPAM, findings) else {
                return Ipam::default();
            };
            (table.text("driver", findings), read_texts(&table, "options", findings))
        }
        DeValue::String(_) => (entry.as_text(findings), BTreeMap::new()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => {
            let help = "write ipam = \"NAME\", or ipam = { driver = \"NAME\", options = {} }";
            entry.mistyped("a string or a table", help, findings);
            (None, BTreeMap::new())
        }
    };
    let Some(name) = name else {
        return Ipam { options, ..Ipam::default() };
    };
    let driver = name.get_ref().parse().unwrap_or_else(|error: IpamDriverError| {
        let help = "write \"default\", \"null\", or the name of a plugin that gives addresses";
        findings.add(name.span(), error, help);
        IpamDriver::Default
    });
    Ipam { driver, options }
}

/// A table of strings with keys of the writer's choice.
fn read_texts(
    section: &Section<'_>,
    key: &str,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    let Some(texts) = section.section(key, findings) else {
        return BTreeMap::new();
    };
    let read = |entry: &Entry<'_>| {
        let text = entry.as_text(findings)?;
        Some((entry.key.to_owned(), (*text.get_ref()).to_owned()))
    };
    texts.entries().iter().filter_map(read).collect()
}
