//! `[appliance]` and `[ipam]`: the process itself, and where subnets come from.

use std::ops::Range;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use toml::Spanned;
use toml::de::DeValue;
use weft_ipam::{DefaultPool, DefaultPools, PoolError};

use super::finding::Findings;
use super::keys::{Form, Keys, Takes, key};
use super::network::read_subnet;
use super::section::{Alone, Entry, Section};
use crate::cnm::id::is_name;

/// The most data-path threads that can be asked for.
pub const MAX_WORKERS: usize = 64;

/// How many default pools a file may list.
const MAX_POOLS: usize = 256;

/// How many directories of plugins a file may list.
const MAX_PLUGIN_DIRS: usize = 16;

pub(super) static KEYS: Keys = Keys::new(&[
    key("name", Takes::Text(Form::NAME)),
    key("workers", Takes::Number { least: 1, most: MAX_WORKERS }),
])
.later(&[("engine", "this version moves frames with epoll and nothing else")]);

pub(super) static IPAM: Keys = Keys::new(&[
    key("default-address-pools", Takes::Tables { of: &POOL, least: 1, most: MAX_POOLS }),
    key("plugin-dirs", PLUGIN_DIRS),
]);

const PLUGIN_DIRS: Takes =
    Takes::Texts { of: Form::WHOLE_PATH, alone: Alone::Allowed, least: 0, most: MAX_PLUGIN_DIRS };

static POOL: Keys = Keys::new(&[
    key("base", Takes::Text(Form::SUBNET)),
    key("size", Takes::Number { least: 0, most: 128 }),
])
.needed(&["base", "size"]);

/// How the process itself is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appliance {
    /// What this appliance is called; the host's name when absent.
    pub name: Option<String>,
    /// How many threads move frames, 1 to [`MAX_WORKERS`]; chosen for the machine when absent.
    pub workers: Option<usize>,
}

pub(super) fn read(root: &Section<'_>, findings: &mut Findings) -> Appliance {
    let Some(section) = root.table("appliance", &KEYS, findings) else {
        return Appliance::default();
    };
    let name = section.text("name", findings).and_then(|name| read_name(&name, findings));
    let workers = section.entry("workers").and_then(|entry| read_workers(entry, findings));
    Appliance { name, workers }
}

fn read_name(name: &Spanned<&str>, findings: &mut Findings) -> Option<String> {
    if is_name(name.get_ref()) {
        return Some((*name.get_ref()).to_owned());
    }
    findings.add(
        name.span(),
        format_args!("{:?} cannot name an appliance", name.get_ref()),
        "a letter or digit, then letters, digits, \"_\", \".\" and \"-\"; at most 63 characters",
    );
    None
}

fn read_workers(entry: &Entry<'_>, findings: &mut Findings) -> Option<usize> {
    let help = format!("a number from 1 to {MAX_WORKERS}, or nothing to suit the machine");
    let workers = read_integer(entry, &help, findings)?;
    let fits = usize::try_from(workers).ok().filter(|workers| (1..=MAX_WORKERS).contains(workers));
    if fits.is_none() {
        findings.add(entry.value.span(), format_args!("workers cannot be {workers}"), help);
    }
    fits
}

pub(super) fn read_pools(root: &Section<'_>, findings: &mut Findings) -> DefaultPools {
    let Some(section) = root.table("ipam", &IPAM, findings) else {
        return DefaultPools::docker();
    };
    let Some(entry) = section.entry("default-address-pools") else {
        return DefaultPools::docker();
    };
    let how = "write default-address-pools = [{ base = \"172.18.0.0/16\", size = 24 }]";
    let DeValue::Array(list) = entry.value.get_ref() else {
        entry.mistyped("a list of tables", how, findings);
        return DefaultPools::docker();
    };
    if list.is_empty() || list.len() > MAX_POOLS {
        let message = format!("there are {} default pools", list.len());
        let help = format!("list 1 to {MAX_POOLS}, or leave the key out to have Docker's");
        findings.add(entry.value.span(), message, help);
    }
    let mut pools = Vec::new();
    for item in list.iter().take(MAX_POOLS) {
        let DeValue::Table(table) = item.get_ref() else {
            findings.add(item.span(), "a default pool is a table with base and size", how);
            continue;
        };
        let pool = Section::new("ipam.default-address-pools", table).with_keys(&POOL, findings);
        pools.extend(read_pool(&pool, item.span(), findings));
    }
    DefaultPools::new(pools)
}

/// Where plugins are looked for before Docker's directories.
pub(super) fn read_plugin_dirs(root: &Section<'_>, findings: &mut Findings) -> Vec<PathBuf> {
    // What is wrong with the section itself is noted where the pools are read.
    let Some(section) = root.section("ipam", &mut Findings::default()) else {
        return Vec::new();
    };
    let texts = section.texts("plugin-dirs", Alone::Allowed, findings);
    if let Some(extra) = texts.get(MAX_PLUGIN_DIRS) {
        let message = format!("there are more than {MAX_PLUGIN_DIRS} plugin-dirs");
        findings.add(extra.span(), message, "put the plugins in fewer directories");
    }
    let mut folders = Vec::new();
    for text in texts.iter().take(MAX_PLUGIN_DIRS) {
        let folder = PathBuf::from(*text.get_ref());
        if folder.is_absolute() && !text.get_ref().contains('\0') {
            folders.push(folder);
        } else {
            let message = format!("{:?} is no absolute path", text.get_ref());
            findings.add(text.span(), message, "begin it with a slash");
        }
    }
    folders
}

fn read_pool(
    pool: &Section<'_>,
    span: Range<usize>,
    findings: &mut Findings,
) -> Option<DefaultPool> {
    for key in POOL.needed {
        if pool.entry(key).is_none() {
            let help = "write { base = \"172.18.0.0/16\", size = 24 }";
            findings.add(span.clone(), format_args!("a default pool needs {key:?}"), help);
        }
    }
    let base: Spanned<IpNetwork> =
        pool.text("base", findings).and_then(|text| read_subnet(&text, findings))?;
    let entry = pool.entry("size")?;
    let help = "a prefix length from that of the base to 32 (IPv4) or 128 (IPv6), such as 24";
    let size = read_integer(entry, help, findings)?;
    let Ok(size) = u8::try_from(size) else {
        findings.add(entry.value.span(), format_args!("size cannot be {size}"), help);
        return None;
    };
    match DefaultPool::new(*base.get_ref(), size) {
        Ok(pool) => Some(pool),
        Err(error @ (PoolError::SizeTooLong { .. } | PoolError::SizeTooShort { .. })) => {
            findings.add(entry.value.span(), error, help);
            None
        }
        Err(error) => {
            findings.add(base.span(), error, "choose a base such as \"172.18.0.0/16\"");
            None
        }
    }
}

fn read_integer(entry: &Entry<'_>, help: &str, findings: &mut Findings) -> Option<i64> {
    let DeValue::Integer(integer) = entry.value.get_ref() else {
        entry.mistyped("a whole number", help, findings);
        return None;
    };
    let read = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
    if read.is_none() {
        findings.add(entry.value.span(), format_args!("{integer} is out of range"), help);
    }
    read
}
