//! `weft network ls`: the list in Docker's columns, as JSON, or as a template has it.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::Ls;
use super::query;
use crate::api::client::Client;
use crate::api::docker::shapes::Network;
use crate::cli::print::columns_of;
use crate::cli::template::Template;
use crate::cli::{Complaint, say};

/// Digits of an id that a list shows.
const SHORT: usize = 12;
/// Docker's columns are no narrower than this.
const LEAST: usize = 7;
/// The heads of Docker's columns, by field.
const HEADS: [(&str, &str); 8] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

pub(super) fn list(ls: &Ls, client: &Client) -> Result<ExitCode, Complaint> {
    let mut networks: Vec<Network> = client.get(&format!("/networks{}", query(&ls.filters)?))?;
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    let text = text(ls, &networks)?;
    if !text.is_empty() {
        say(&text);
    }
    Ok(ExitCode::SUCCESS)
}

fn text(ls: &Ls, networks: &[Network]) -> Result<String, Complaint> {
    let rows: Vec<Value> = networks.iter().map(|network| row(network, ls.no_trunc)).collect();
    if ls.quiet {
        let ids = rows.iter().filter_map(|row| row["ID"].as_str());
        return Ok(ids.collect::<Vec<_>>().join("\n"));
    }
    match ls.format.as_str() {
        "" | "table" => table(&["ID", "Name", "Driver", "Scope"], &rows),
        "json" => Ok(rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")),
        format => match format.strip_prefix("table ") {
            Some(format) => {
                let fields = Template::read(format)?.fields();
                table(&fields.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
            }
            None => {
                let template = Template::read(format)?;
                let lines: Result<Vec<String>, _> =
                    rows.iter().map(|row| template.fill(row)).collect();
                Ok(lines?.join("\n"))
            }
        },
    }
}

fn table(fields: &[&str], rows: &[Value]) -> Result<String, Complaint> {
    let heads: Vec<&str> = fields
        .iter()
        .map(|field| HEADS.iter().find(|(known, _)| known == field).map_or(*field, |(_, h)| *h))
        .collect();
    let cells = |row: &Value| -> Result<Vec<String>, Complaint> {
        fields.iter().map(|field| Template::field(field).fill(row)).collect()
    };
    let rows = rows.iter().map(cells).collect::<Result<Vec<_>, _>>()?;
    Ok(columns_of(LEAST, &heads, rows.into_iter()))
}

/// A network as Docker's templates see it.
fn row(network: &Network, whole: bool) -> Value {
    let id = if whole { &network.id } else { network.id.get(..SHORT).unwrap_or(&network.id) };
    let labels: Vec<String> =
        network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "ID": id,
        "Name": network.name,
        "Driver": network.driver,
        "Scope": network.scope,
        "IPv4": network.enable_ipv4.to_string(),
        "IPv6": network.enable_ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.join(","),
        "CreatedAt": network.created.replace('T', " ").replace('Z', " +0000 UTC"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> [Network; 2] {
        let network = |name: &str, driver: &str, digit: &str| Network {
            name: name.to_owned(),
            id: digit.repeat(64),
            driver: driver.to_owned(),
            scope: "local".to_owned(),
            created: "2026-11-22T13:29:48.000Z".to_owned(),
            labels: [("tier".to_owned(), "back".to_owned())].into(),
            ..Network::default()
        };
        [network("blue", "bridge", "1"), network("none", "null", "2")]
    }

    fn ls(format: &str) -> Ls {
        Ls { filters: Vec::new(), format: format.to_owned(), no_trunc: false, quiet: false }
    }

    #[test]
    fn a_list_looks_like_dockers() {
        let expected = "NETWORK ID     NAME      DRIVER    SCOPE\n\
                        111111111111   blue      bridge    local\n\
                        222222222222   none      null      local";
        assert_eq!(text(&ls("table"), &networks()).unwrap(), expected);
        let expected = "NAME      INTERNAL\nblue      false\nnone      false";
        let format = "table {{.Name}}\\t{{.Internal}}";
        assert_eq!(text(&ls(format), &networks()).unwrap(), expected);
    }

    #[test]
    fn a_list_is_as_its_template_has_it() {
        let cases = [
            ("{{.Name}}", "blue\nnone"),
            ("{{.Name}} is {{ .Driver }}", "blue is bridge\nnone is null"),
            ("{{.ID}}\\t{{.Scope}}", "111111111111\tlocal\n222222222222\tlocal"),
            ("{{.Labels}},{{.IPv6}}", "tier=back,false\ntier=back,false"),
            (
                "{{.CreatedAt}}",
                "2026-11-22 13:29:48.000 +0000 UTC\n2026-11-22 13:29:48.000 +0000 UTC",
            ),
            ("{{json .Name}}", "\"blue\"\n\"none\""),
        ];
        for (format, expected) in cases {
            assert_eq!(text(&ls(format), &networks()).unwrap(), expected, "{format}");
        }
        let json = text(&ls("json"), &networks()).unwrap();
        assert!(json.lines().next().unwrap().contains("\"Name\":\"blue\""), "{json}");
        assert!(text(&ls("{{.Colour}}"), &networks()).is_err());
        let quiet = Ls { quiet: true, no_trunc: true, ..ls("table") };
        let expected = format!("{}\n{}", "1".repeat(64), "2".repeat(64));
        assert_eq!(text(&quiet, &networks()).unwrap(), expected);
    }
}
