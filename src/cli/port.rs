//! `weft port`: published ports of sandboxes that run.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::args::{Format, List};
use super::print::columns;
use super::{Complaint, say};
use crate::api::client::{Client, escaped};
use crate::api::shapes::{PublicationLine, Publishing};
use crate::cnm::Publish;

/// `weft port`
#[derive(Debug, Args)]
pub struct Port {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs of `weft port`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Publish ports of a sandbox
    Add(Change),
    /// Take published ports back
    Rm(Change),
    /// List published ports
    Ls(Ls),
}

/// `weft port add` and `rm`
#[derive(Debug, Args)]
pub struct Change {
    /// The sandbox's name or id
    pub name: String,
    /// The host's port, or range, and the sandbox's: 8080:80, 127.0.0.1:53:53/udp
    #[arg(required = true, value_name = "[ADDR:]PORT:PORT[/udp]")]
    pub publish: Vec<Publish>,
}

/// `weft port ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// Of this sandbox only
    pub name: Option<String>,
    /// How to print
    #[command(flatten)]
    pub list: List,
}

pub(super) fn port(verb: &Verb, client: &Client) -> Result<ExitCode, Complaint> {
    match verb {
        Verb::Add(change) => tell("publish", change, client),
        Verb::Rm(change) => tell("unpublish", change, client),
        Verb::Ls(ls) => list(ls, client),
    }
}

fn tell(what: &str, change: &Change, client: &Client) -> Result<ExitCode, Complaint> {
    let path = format!("/weft/v1/sandboxes/{}/{what}", escaped(&change.name));
    let () = client.post(&path, &Publishing { publish: change.publish.clone() })?;
    Ok(ExitCode::SUCCESS)
}

fn list(ls: &Ls, client: &Client) -> Result<ExitCode, Complaint> {
    let mut lines: Vec<PublicationLine> = client.get("/weft/v1/publications")?;
    if let Some(name) = &ls.name {
        lines.retain(|line| line.sandbox == *name);
    }
    let text = match ls.list.format {
        Format::Json => {
            serde_json::to_string_pretty(&lines).map_err(|error| Complaint::new(&error))?
        }
        Format::Table => columns(
            &["SANDBOX", "NETWORK", "PUBLISHED"],
            lines.iter().map(|line| {
                vec![line.sandbox.clone(), line.network.clone(), line.publish.to_string()]
            }),
        ),
    };
    say(&text);
    Ok(ExitCode::SUCCESS)
}
