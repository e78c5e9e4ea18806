//! `ps`, `status` and `show`: what exists, for people and for programs.

use std::process::ExitCode;

use serde::Serialize;

use super::args::{Format, Table};
use super::{Complaint, say};
use crate::api::client::Client;
use crate::api::shapes::{DropLine, FdbLine, Kind, PortLine, SandboxLine, Status, UplinkStatus};

pub(super) fn sandboxes(format: Format, client: &Client) -> Result<ExitCode, Complaint> {
    let lines: Vec<SandboxLine> = client.get("/weft/v1/sandboxes")?;
    show(format, &lines, || {
        columns(
            &["NAME", "ID", "KIND", "NETWORK", "ADDRESS", "AGE", "COMMAND"],
            lines.iter().map(|line| {
                let networks: Vec<&str> =
                    line.endpoints.iter().map(|e| e.network.as_str()).collect();
                let addresses = line.endpoints.iter().flat_map(|e| &e.addresses);
                let addresses: Vec<String> = addresses.map(|a| a.ip().to_string()).collect();
                vec![
                    line.name.clone(),
                    line.id.short(),
                    kind(line.kind).to_owned(),
                    networks.join(","),
                    addresses.join(","),
                    age(line.age_s),
                    line.command.join(" "),
                ]
            }),
        )
    })
}

pub(super) fn status(format: Format, client: &Client) -> Result<ExitCode, Complaint> {
    let status: Status = client.get("/weft/v1/status")?;
    show(format, &status, || {
        let file =
            status.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
        let state =
            status.state.as_ref().map_or("none".to_owned(), |state| state.display().to_string());
        let ends = if status.on_demand { ", ends when idle" } else { "" };
        let uplinks: String = status.uplinks.iter().map(uplink).collect();
        format!(
            "appliance  {} (weft {}, process {}, up {}{ends})\n\
             file       {file}\n\
             state      {state}\n\
             data path  {} workers\n\
             objects    {} networks, {} sandboxes, {} endpoints\n\
             memory     {:.1} MiB resident{uplinks}",
            status.name,
            status.version,
            status.pid,
            age(status.uptime_s),
            status.workers,
            status.networks,
            status.sandboxes,
            status.endpoints,
            status.resident_kib as f64 / 1024.0,
        )
    })
}

pub(super) fn table(table: Table, format: Format, client: &Client) -> Result<ExitCode, Complaint> {
    match table {
        Table::Fdb => {
            let lines: Vec<FdbLine> = client.get("/weft/v1/fdb")?;
            show(format, &lines, || fdb(&lines))
        }
        Table::Ports => {
            let lines: Vec<PortLine> = client.get("/weft/v1/ports")?;
            show(format, &lines, || ports(&lines))
        }
        Table::Drops => {
            let lines: Vec<DropLine> = client.get("/weft/v1/drops")?;
            show(format, &lines, || drops(&lines))
        }
    }
}

pub(super) fn fdb(lines: &[FdbLine]) -> String {
    columns(
        &["NETWORK", "STATION", "PORT", "SANDBOX", "HEARD"],
        lines.iter().map(|line| {
            vec![
                line.network.clone(),
                line.mac.clone(),
                line.port.to_string(),
                line.sandbox.clone(),
                line.age_s.map_or("static".to_owned(), |s| format!("{} ago", age(u64::from(s)))),
            ]
        }),
    )
}

fn ports(lines: &[PortLine]) -> String {
    columns(
        &[
            "PORT",
            "NETWORK",
            "SANDBOX",
            "WORKER",
            "IN",
            "OCTETS-IN",
            "FORWARDED",
            "FLOODED",
            "DROPPED",
            "OUT",
            "OCTETS-OUT",
            "DROPPED-OUT",
        ],
        lines.iter().map(|line| {
            vec![
                line.port.map_or("-".to_owned(), |port| port.to_string()),
                line.network.clone(),
                line.sandbox.clone(),
                line.worker.map_or("-".to_owned(), |worker| worker.to_string()),
                line.received.to_string(),
                line.received_octets.to_string(),
                line.forwarded.to_string(),
                line.flooded.to_string(),
                line.dropped.to_string(),
                line.transmitted.to_string(),
                line.transmitted_octets.to_string(),
                line.egress_dropped.to_string(),
            ]
        }),
    )
}

pub(super) fn drops(lines: &[DropLine]) -> String {
    if lines.is_empty() {
        return "nothing was dropped".to_owned();
    }
    columns(
        &["PORT", "SANDBOX", "NETWORK", "REASON", "COUNT", "MEANING"],
        lines.iter().map(|line| {
            vec![
                line.port.map_or("-".to_owned(), |port| port.to_string()),
                line.sandbox.clone(),
                line.network.clone(),
                line.reason.clone(),
                line.count.to_string(),
                line.meaning.clone(),
            ]
        }),
    )
}

/// Prints a value as JSON, or as `text` makes it.
fn show(
    format: Format,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<ExitCode, Complaint> {
    match format {
        Format::Json => {
            say(&serde_json::to_string_pretty(value).map_err(|error| Complaint::new(&error))?);
        }
        Format::Table => say(&text()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The most characters of a cell; the sentences of `show drops` have fewer.
const MAX_CELL: usize = 200;

/// Columns as wide as their widest cell, three blanks apart.
pub(super) fn columns(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    columns_of(0, heads, rows)
}

/// The same with columns of at least `least` characters.
pub(super) fn columns_of(
    least: usize,
    heads: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut table: Vec<Vec<String>> = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    table.extend(rows.map(|row| row.iter().map(|text| cell(text)).collect()));
    let width = |column: usize| {
        table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> =
        (0..heads.len()).map(|column| width(column).unwrap_or(0).max(least)).collect();
    let lines: Vec<String> = table
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

/// What somebody else wrote, as it may stand on a terminal: without controls, and not without end.
fn cell(text: &str) -> String {
    let mut shown = String::new();
    let mut count = 0;
    for character in text.chars() {
        let written: String = if character.is_control() {
            character.escape_default().collect()
        } else {
            character.into()
        };
        count += written.chars().count();
        if count > MAX_CELL {
            shown.push('…');
            break;
        }
        shown.push_str(&written);
    }
    shown
}

fn uplink(uplink: &UplinkStatus) -> String {
    let UplinkStatus { network, parent, mode, condition, .. } = uplink;
    let line = format!("uplink     {parent} is {condition}, of {network}, mode {mode}");
    format!("\n{}", cell(&line))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "run",
        Kind::Netns => "netns",
        Kind::Tap => "tap",
        Kind::Qemu => "qemu",
    }
}

/// A time span in its largest unit, as Docker prints them.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_what_others_wrote_without_obeying_it() {
        let long = "x".repeat(1 << 20);
        let rows = [("ann", "sleep 1"), ("bob", "a\u{1b}[2J\nb"), ("eve", &*long)];
        let rows = rows.map(|(name, command)| vec![name.to_owned(), command.to_owned()]);
        let table = columns(&["NAME", "COMMAND"], rows.into_iter());
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[..3], ["NAME   COMMAND", "ann    sleep 1", r"bob    a\u{1b}[2J\nb"]);
        assert_eq!(lines[3], format!("eve    {}…", &long[..MAX_CELL]));
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn every_sentence_about_a_drop_fits_a_cell() {
        for reason in weft_switch::DropReason::ALL {
            assert_eq!(cell(reason.sentence()), reason.sentence());
        }
    }
}
