//! `completions`, `man` and `schema`: what the program knows of itself, for shells, `man` and editors.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use super::Complaint;
use super::args::Arguments;

pub(super) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Complaint> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "weft", &mut script);
    print(&script)
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
    }
}
