//! `[endpoints.NAME]`: one endpoint each.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use weft_frame::MacAddr;

use super::finding::Findings;
use super::keys::{Form, Keys, Takes, key};
use super::section::{Alone, Section};
use crate::cnm::id::{is_device_name, is_name, listed};
use crate::cnm::{Attach, DeclaredEndpoint};

pub(super) static KEYS: Keys = Keys::new(&[
    key("network", Takes::Text(Form::ANY)),
    key("ip", Takes::Text(Form::IPV4)),
    key("ip6", Takes::Text(Form::IPV6)),
    key("mac", Takes::Text(Form::MAC)),
    key("aliases", texts(Form::NAME, 0)),
    key("ifname", Takes::Text(Form::DEVICE)),
    key("command", texts(Form::ANY, 1)),
    key("netns", Takes::Text(Form::WHOLE_PATH)),
    key("tap", Takes::Text(Form::DEVICE)),
    key("qemu", Takes::Text(Form::PATH)),
])
.needed(&["network"])
.choice(&ATTACH)
.later(&[("publish", "this version does not publish ports")]);

/// The keys that say what is at the other end.
const ATTACH: [&str; 4] = ["command", "netns", "tap", "qemu"];

const fn texts(of: Form, least: usize) -> Takes {
    Takes::Texts { of, alone: Alone::Refused, least, most: usize::MAX }
}

/// What the kernel keeps for the path of a socket, less the octet that ends it (`unix(7)`).
const MAX_SOCKET_PATH: usize = 107;

const DEVICE_HELP: &str = "1 to 15 characters, no slash, colon, percent sign or blank";

/// An endpoint of the file, with where its values stand.
pub(super) struct EndpointSource {
    pub(super) name: String,
    pub(super) name_span: Range<usize>,
    pub(super) network: Option<Spanned<String>>,
    pub(super) ip: Option<Spanned<Ipv4Addr>>,
    pub(super) ip6: Option<Spanned<Ipv6Addr>>,
    pub(super) mac: Option<Spanned<MacAddr>>,
    pub(super) ifname: Option<Spanned<String>>,
    pub(super) attach: Option<Spanned<Attach>>,
    aliases: Vec<String>,
    /// Whether something in it was refused.
    pub(super) is_broken: bool,
}

impl EndpointSource {
    /// The endpoint, if it has all it needs.
    pub(super) fn declared(&self) -> Option<DeclaredEndpoint> {
        Some(DeclaredEndpoint {
            network: self.network.as_ref()?.get_ref().clone(),
            ip: self.ip.as_ref().map(|ip| *ip.get_ref()),
            ip6: self.ip6.as_ref().map(|ip6| *ip6.get_ref()),
            mac: self.mac.as_ref().map(|mac| *mac.get_ref()),
            aliases: self.aliases.clone(),
            ifname: self.ifname.as_ref().map(|ifname| ifname.get_ref().clone()),
            attach: self.attach.as_ref()?.get_ref().clone(),
        })
    }
}

pub(super) fn read_all(root: &Section<'_>, findings: &mut Findings) -> Vec<EndpointSource> {
    let Some(endpoints) = root.section("endpoints", findings) else {
        return Vec::new();
    };
    let mut sources = Vec::new();
    for entry in endpoints.entries() {
        let before = findings.len();
        let Some(section) = endpoints.inside(entry, findings) else {
            continue;
        };
        let section = section.with_keys(&KEYS, findings);
        check_name(entry.key, "an endpoint", entry.key_span.clone(), findings);
        let mut source = read(&section, entry.key, entry.key_span.clone(), findings);
        source.is_broken = findings.len() > before;
        sources.push(source);
    }
    sources
}

fn check_name(name: &str, what: &str, span: Range<usize>, findings: &mut Findings) {
    if !is_name(name) {
        let help = "a letter or digit, then letters, digits, \"_\", \".\" and \"-\"; \
                    at most 63 characters";
        findings.add(span, format_args!("{name:?} cannot name {what}"), help);
    }
}

fn read(
    section: &Section<'_>,
    name: &str,
    name_span: Range<usize>,
    findings: &mut Findings,
) -> EndpointSource {
    let network = section.text("network", findings).map(|network| owned(&network));
    if section.entry("network").is_none() {
        let message = format!("endpoint {name} has no network");
        findings.add(name_span.clone(), message, "add network = \"bridge\", or another's name");
    }
    let ip_help = "write it without a prefix, such as \"192.168.10.10\"";
    let ip6_help = "write it without a prefix, such as \"fd00:10::10\"";
    EndpointSource {
        network,
        ip: section.parsed("ip", "an IPv4 address", ip_help, findings),
        ip6: section.parsed("ip6", "an IPv6 address", ip6_help, findings),
        mac: read_mac(section, findings),
        ifname: read_device(section, "ifname", findings),
        attach: read_attach(section, name, &name_span, findings),
        aliases: read_aliases(section, findings),
        is_broken: false,
        name: name.to_owned(),
        name_span,
    }
}

fn read_mac(section: &Section<'_>, findings: &mut Findings) -> Option<Spanned<MacAddr>> {
    let help = "write six pairs of hex digits, such as \"02:00:5e:10:00:01\"";
    let mac: Spanned<MacAddr> = section.parsed("mac", "a MAC address", help, findings)?;
    if mac.get_ref().is_group() || mac.get_ref().is_zero() {
        let message = format!("{} cannot be the MAC address of one station", mac.get_ref());
        let help = "the first octet of a station's address is even, such as 02";
        findings.add(mac.span(), message, help);
        return None;
    }
    Some(mac)
}

fn read_device(
    section: &Section<'_>,
    key: &str,
    findings: &mut Findings,
) -> Option<Spanned<String>> {
    let name = section.text(key, findings)?;
    if is_device_name(name.get_ref()) {
        return Some(owned(&name));
    }
    let message = format!("{:?} cannot name a network device", name.get_ref());
    findings.add(name.span(), message, DEVICE_HELP);
    None
}

fn read_aliases(section: &Section<'_>, findings: &mut Findings) -> Vec<String> {
    let aliases = section.texts("aliases", Alone::Refused, findings);
    for alias in &aliases {
        check_name(alias.get_ref(), "an alias", alias.span(), findings);
    }
    aliases.into_iter().map(|alias| (*alias.get_ref()).to_owned()).collect()
}

/// What is at the other end: exactly one of the keys that say so.
fn read_attach(
    section: &Section<'_>,
    name: &str,
    name_span: &Range<usize>,
    findings: &mut Findings,
) -> Option<Spanned<Attach>> {
    let given: Vec<_> =
        section.entries().iter().filter(|entry| ATTACH.contains(&entry.key)).collect();
    let entry = match given.as_slice() {
        [] => {
            let message = format!("nothing is attached to endpoint {name}");
            let help = "add one of command = [\"…\"], netns = \"PATH\", tap = \"NAME\" and \
                        qemu = \"SOCKET\"";
            findings.add(name_span.clone(), message, help);
            return None;
        }
        [only] => only,
        [first, second, ..] => {
            let message = format!("endpoint {name} has both {} and {}", first.key, second.key);
            let help = format!("keep one of {}", listed(given.iter().map(|entry| entry.key)));
            findings.add(second.key_span.clone(), message, help);
            return None;
        }
    };
    let attach = match entry.key {
        "command" => read_command(section, findings),
        "netns" => read_path(section, "netns", findings).map(Attach::Netns),
        "tap" => read_device(section, "tap", findings).map(|tap| Attach::Tap(tap.into_inner())),
        _ => read_path(section, "qemu", findings).map(Attach::Qemu),
    };
    attach.map(|attach| Spanned::new(entry.value.span(), attach))
}

fn read_command(section: &Section<'_>, findings: &mut Findings) -> Option<Attach> {
    let before = findings.len();
    let words = section.texts("command", Alone::Refused, findings);
    let span = section.entry("command")?.value.span();
    let help = "name a program and its arguments: command = [\"python3\", \"-m\", \"http.server\"]";
    let has_nul = words.iter().find(|word| word.get_ref().contains('\0'));
    if let Some(word) = has_nul {
        findings.add(word.span(), "a word of a command cannot contain a NUL", help);
    } else if findings.len() == before && words.first().is_none_or(|word| word.get_ref().is_empty())
    {
        findings.add(span, "the command is empty", help);
    }
    (findings.len() == before)
        .then(|| Attach::Command(words.iter().map(|word| (*word.get_ref()).to_owned()).collect()))
}

fn read_path(section: &Section<'_>, key: &str, findings: &mut Findings) -> Option<PathBuf> {
    let text = section.text(key, findings)?;
    let path = *text.get_ref();
    if path.is_empty() || path.contains('\0') {
        let help = format!("such as {key} = \"/run/{key}/db\"");
        findings.add(text.span(), format_args!("{path:?} is not a path"), help);
        return None;
    }
    if key == "netns" && !Path::new(path).is_absolute() {
        let help = format!("write it from the root, such as \"/run/netns/{path}\"");
        findings.add(text.span(), format_args!("netns {path:?} is not a whole path"), help);
        return None;
    }
    if key == "qemu" && path.len() > MAX_SOCKET_PATH {
        let message = format!("the path of a socket has at most {MAX_SOCKET_PATH} octets");
        findings.add(text.span(), message, "choose a shorter path");
        return None;
    }
    Some(path.into())
}

fn owned(text: &Spanned<&str>) -> Spanned<String> {
    Spanned::new(text.span(), (*text.get_ref()).to_owned())
}
