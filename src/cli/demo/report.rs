//! One line for each check, as it is done.

use std::io::IsTerminal;

use super::super::{Complaint, say};

/// Where the findings begin.
const COLUMN: usize = 18;

/// What has been checked so far.
#[derive(Debug)]
pub(super) struct Report {
    colour: bool,
    failed: Vec<&'static str>,
}

impl Report {
    /// A report in colour where that is wanted: on a terminal, unless `NO_COLOR` is set.
    pub(super) fn on_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: wanted && std::io::stdout().is_terminal(), failed: Vec::new() }
    }

    /// Prints what a check found; whether it found all well.
    pub(super) fn check(&mut self, what: &'static str, found: &Result<String, Complaint>) -> bool {
        let well = found.is_ok();
        if !well {
            self.failed.push(what);
        }
        say(&self.line(what, found));
        well
    }

    /// The checks that failed.
    pub(super) fn failed(&self) -> &[&'static str] {
        &self.failed
    }

    fn line(&self, what: &str, found: &Result<String, Complaint>) -> String {
        match found {
            Ok(text) => format!("  {} {what:<COLUMN$}{text}", self.mark("✓", "32")),
            Err(Complaint { text, help, .. }) => {
                let mut line = format!("  {} {what:<COLUMN$}{text}", self.mark("✗", "31"));
                if let Some(help) = help {
                    line.push_str(&format!("\n    {:<COLUMN$}help: {help}", ""));
                }
                line
            }
        }
    }

    fn mark(&self, sign: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{sign}\x1b[0m") } else { sign.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_stand_in_one_column_and_help_below_them() {
        let report = Report { colour: false, failed: Vec::new() };
        let failure = Complaint::text("no way").help(Some("find one".to_owned()));
        let cases = [
            (Ok("fine".to_owned()), "  ✓ ping              fine"),
            (Err(failure), "  ✗ ping              no way\n                      help: find one"),
        ];
        for (found, line) in cases {
            assert_eq!(report.line("ping", &found), line);
        }
    }

    #[test]
    fn only_failures_are_remembered() {
        let mut report = Report { colour: true, failed: Vec::new() };
        assert!(report.check("names", &Ok(String::new())));
        assert!(!report.check("ping", &Err(Complaint::text("lost"))));
        assert_eq!(report.failed(), ["ping"]);
    }
}
