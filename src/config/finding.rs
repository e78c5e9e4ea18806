//! What is wrong with a file, and where: collected while reading, shown with the line.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How many findings are shown; a file with more has one cause that explains them.
pub(super) const MAX_SHOWN: usize = 20;

/// The longest stretch of a line that is shown, in characters.
const MAX_WIDTH: usize = 160;

/// How much of a line that is too long is shown before the value.
const BEFORE: usize = 40;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong: one line, without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// The line as it stands in the file, or the part of it around the value.
    source: String,
    /// How many characters of `source` stand before the value, and how many the value has.
    mark: (usize, usize),
}

/// Everything that is wrong with one file, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    path: PathBuf,
    findings: Vec<Finding>,
    more: usize,
}

impl Report {
    /// The file, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was found, as far as it is shown.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How much more was found than is shown.
    pub fn more(&self) -> usize {
        self.more
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "weft: {}:{finding}", self.path.display())?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n\nweft: {}: and {more} more", self.path.display()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let (before, width) = self.mark;
        // A tab before the value stands in the line of carets too, so both are as wide.
        let indent: String =
            self.source.chars().take(before).map(|c| if c == '\t' { c } else { ' ' }).collect();
        writeln!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        writeln!(f, "{number} | {}", self.source)?;
        writeln!(f, "{:blank$} | {indent}{}", "", "^".repeat(width), blank = number.len())?;
        write!(f, "help: {}", self.help)
    }
}

/// What is wrong so far, by where it is in the text.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(Range<usize>, String, String)>);

impl Findings {
    /// Notes that the text at `span` is wrong.
    pub(super) fn add(
        &mut self,
        span: Range<usize>,
        message: impl fmt::Display,
        help: impl fmt::Display,
    ) {
        self.0.push((span, one_line(&message.to_string()), one_line(&help.to_string())));
    }

    /// Notes what the TOML library says.
    pub(super) fn syntax(&mut self, text: &str, error: &toml::de::Error) {
        let span = error.span().unwrap_or(text.len()..text.len());
        let message = error.message();
        let help = if message.starts_with("string values must be quoted") {
            "write words and addresses in quotes, such as driver = \"bridge\""
        } else if message.starts_with("duplicate key") {
            "a name is given once; put all its keys in one place"
        } else if message.starts_with("missing comma") {
            "put a comma between values, and ] or } after the last one"
        } else if message.starts_with("invalid basic string") {
            "text begins and ends with a quote, on one line; write \\\\ for a backslash"
        } else {
            "a line is key = value, with text in quotes, or a [section]"
        };
        self.add(span, message, help);
    }

    /// How many things are wrong so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The findings with their lines; `None` when there are none.
    pub(super) fn report(mut self, text: &str, path: &Path) -> Option<Report> {
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_by_key(|(span, ..)| span.start);
        let more = self.0.len().saturating_sub(MAX_SHOWN);
        let findings = self.0.into_iter().take(MAX_SHOWN).map(|(span, message, help)| {
            let (line, column) = position(text, span.start);
            let (source, mark) = excerpt(text, &span);
            Finding { line, column, message, help, source, mark }
        });
        Some(Report { path: path.to_owned(), findings: findings.collect(), more })
    }
}

/// Where the lines of a text begin, to find the line of many octets.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(newline, _)| newline + 1).collect())
    }

    /// The line of an octet, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.0.partition_point(|begin| *begin <= at) + 1
    }
}

/// The line and the column of an octet of a text, both from 1; columns count characters.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The line that `span` begins in, cut to [`MAX_WIDTH`], and where in it the value stands.
fn excerpt(text: &str, span: &Range<usize>) -> (String, (usize, usize)) {
    let at = span.start.min(text.len());
    let start =
        text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let line = text[start..end].trim_end_matches('\r');
    let before = text.get(start..at).unwrap_or(line).chars().count();
    let value = text.get(at..span.end.min(start + line.len())).unwrap_or_default();
    let width = value.chars().count().max(1);

    let skipped = if line.chars().count() > MAX_WIDTH { before.saturating_sub(BEFORE) } else { 0 };
    let mut shown: Vec<char> = line.chars().skip(skipped).take(MAX_WIDTH).map(visible).collect();
    if let Some(first) = shown.first_mut().filter(|_| skipped > 0) {
        *first = '…';
    }
    if let Some(last) = shown.last_mut().filter(|_| skipped + MAX_WIDTH < line.chars().count()) {
        *last = '…';
    }
    let room = MAX_WIDTH.saturating_sub(before - skipped).max(1);
    (shown.into_iter().collect(), (before - skipped, width.min(room)))
}

/// Control characters would move a terminal's cursor; a tab is kept as it is.
fn visible(character: char) -> char {
    if character.is_control() && character != '\t' { '\u{fffd}' } else { character }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
