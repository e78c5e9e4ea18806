//! `completions`, `man` and `schema`: what the program knows of itself, for shells, `man` and editors.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::builder::{Resettable, Str};
use clap::{Command, CommandFactory};

use super::Complaint;
use super::args::Arguments;

pub(super) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Complaint> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(&Arguments::command()), "weft", &mut script);
    print(&script)
}

/// What of a grammar people are told of; completions would offer the rest too.
fn shown(command: &Command) -> Command {
    let version = command
        .get_version()
        .map_or(Resettable::Reset, |version| Resettable::Value(Str::from(version.to_owned())));
    let about = command.get_about().cloned().unwrap_or_default();
    Command::new(command.get_name().to_owned())
        .about(about)
        .version(version)
        .visible_aliases(command.get_visible_aliases().map(str::to_owned))
        .args(command.get_arguments().filter(|own| !own.is_hide_set()))
        .subcommands(command.get_subcommands().filter(|own| !own.is_hide_set()).map(shown))
}

pub(super) fn man(folder: Option<&Path>) -> Result<ExitCode, Complaint> {
    let failed = |error: std::io::Error| Complaint::new(&error);
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(failed)?;
            clap_mangen::generate_to(Arguments::command(), folder).map_err(failed)?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(failed)?;
            print(&page)
        }
    }
}

pub(super) fn schema() -> Result<ExitCode, Complaint> {
    print(crate::config::schema().as_bytes())
}

fn print(octets: &[u8]) -> Result<ExitCode, Complaint> {
    // `weft man | head` closes the pipe; that is no failure of ours.
    let _ = std::io::stdout().write_all(octets);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds_together() {
        Arguments::command().debug_assert();
        shown(&Arguments::command()).debug_assert();
    }

    #[test]
    fn bash_completes_verbs_options_and_their_values() {
        let mut script = Vec::new();
        let mut grammar = shown(&Arguments::command());
        clap_complete::generate(clap_complete::Shell::Bash, &mut grammar, "weft", &mut script);
        let mut script = String::from_utf8(script).unwrap();
        let cases = [
            // words, what is offered for the last of them
            ("weft sch", "schema"),
            ("weft demo", "demo"),
            ("weft up --", "--detach --state --dry-run --socket --help"),
            ("weft up --s", "--state --socket"),
            ("weft run --d", "--detach"),
            ("weft network cr", "create"),
            ("weft show d", "drops"),
            ("weft ps --format j", "json"),
        ];
        for (words, _) in cases {
            script.push_str(&format!(
                "COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()\n\
                 _weft weft \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
                 echo \"${{COMPREPLY[*]}}\"\n"
            ));
        }
        let bash = std::process::Command::new("bash").args(["--norc", "-c", &script]).output();
        let bash = bash.unwrap();
        assert_eq!(String::from_utf8_lossy(&bash.stderr), "");
        let got = String::from_utf8_lossy(&bash.stdout).into_owned();
        let expected: Vec<&str> = cases.iter().map(|(_, offered)| *offered).collect();
        assert_eq!(got.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_verb_has_a_page() {
        let folder = std::env::temp_dir().join(format!("weft-man-{}", std::process::id()));
        man(Some(&folder)).unwrap();
        let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let pages = ["weft.1", "weft-up.1", "weft-schema.1", "weft-network-create.1"].map(page);
        let is_hidden = folder.join("weft-demo-peer.1").exists();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(pages.iter().all(|page| page.contains(".SH SYNOPSIS")), "{pages:?}");
        assert!(pages[1].contains("\\-\\-state") && !pages[1].contains("on\\-demand"));
        assert!(!is_hidden);
    }
}
