//! Tables of the file: their keys in the order of the lines, and values read as what they must be.
//!
//! Every reader returns `None` for a value that is not what the key takes, after noting so; the
//! caller goes on with the rest of the file.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::finding::Findings;
use super::keys::Keys;
use crate::cnm::id::{listed, nearest};

/// A value of the file, with where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// A table of the file.
pub(super) struct Section<'a> {
    /// The keys that lead to it, joined by dots; empty for the file as a whole.
    path: String,
    /// The keys that it may have; `None` when the writer chooses them.
    keys: Option<&'static Keys>,
    entries: Vec<Entry<'a>>,
}

/// A key of a table with its value.
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) key_span: Range<usize>,
    pub(super) value: &'a Value<'a>,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: impl Into<String>, table: &'a DeTable<'a>) -> Self {
        let entry = |(key, value): (&'a Spanned<_>, &'a Value<'a>)| {
            let name: &std::borrow::Cow<'a, str> = key.get_ref();
            Entry { key: name, key_span: key.span(), value }
        };
        let mut entries: Vec<Entry<'a>> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        Self { path: path.into(), keys: None, entries }
    }

    /// A table with these keys; others are noted.
    pub(super) fn with_keys(mut self, keys: &'static Keys, findings: &mut Findings) -> Self {
        self.keys = Some(keys);
        self.refuse_others(keys, findings);
        self
    }

    /// The table with these keys under `key`, if there is one.
    pub(super) fn table(
        &self,
        key: &str,
        keys: &'static Keys,
        findings: &mut Findings,
    ) -> Option<Section<'a>> {
        Some(self.section(key, findings)?.with_keys(keys, findings))
    }

    /// The table under `key`, if there is one, with keys of the writer's choice.
    pub(super) fn section(&self, key: &str, findings: &mut Findings) -> Option<Section<'a>> {
        self.inside(self.entry(key)?, findings)
    }

    /// The table that an entry of this one is.
    pub(super) fn inside(&self, entry: &Entry<'a>, findings: &mut Findings) -> Option<Section<'a>> {
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", self.path, entry.key);
        if let DeValue::Table(table) = entry.value.get_ref() {
            return Some(Section::new(path, table));
        }
        let help = format!("write it as a section of its own: [{path}]");
        entry.mistyped("a table", help, findings);
        None
    }

    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        debug_assert!(self.keys.is_none_or(|keys| keys.has(key)), "{key} is not declared");
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Notes every key that is not known, and those of a later version as what this one does not
    /// have.
    fn refuse_others(&self, keys: &Keys, findings: &mut Findings) {
        for entry in self.entries.iter().filter(|entry| !keys.has(entry.key)) {
            let span = entry.key_span.clone();
            if let Some((key, why)) = keys.later.iter().find(|(key, _)| *key == entry.key) {
                findings.add(span, format_args!("{key:?} is not in this version"), Without(why));
                continue;
            }
            let message = if self.path.is_empty() {
                format!("unknown key {:?} at the top of the file", entry.key)
            } else {
                format!("unknown key {:?} in [{}]", entry.key, self.path)
            };
            let help = match nearest(entry.key, keys.names()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("the keys are {}", listed(keys.names())),
            };
            findings.add(span, message, help);
        }
    }

    /// A string under `key`.
    pub(super) fn text(&self, key: &str, findings: &mut Findings) -> Option<Spanned<&'a str>> {
        self.entry(key)?.as_text(findings)
    }

    /// A string under `key` that is read as something.
    ///
    /// `what` says what that is, for `… is not {what}`; `help` how it is written.
    pub(super) fn parsed<T: std::str::FromStr>(
        &self,
        key: &str,
        what: &str,
        help: &str,
        findings: &mut Findings,
    ) -> Option<Spanned<T>> {
        let text = self.text(key, findings)?;
        match text.get_ref().parse() {
            Ok(value) => Some(Spanned::new(text.span(), value)),
            Err(_) => {
                findings.add(text.span(), format_args!("{:?} is not {what}", text.get_ref()), help);
                None
            }
        }
    }

    /// `true` or `false` under `key`.
    pub(super) fn truth(&self, key: &str, findings: &mut Findings) -> Option<bool> {
        let entry = self.entry(key)?;
        if let DeValue::Boolean(truth) = entry.value.get_ref() {
            return Some(*truth);
        }
        entry.mistyped(
            "true or false",
            format_args!("write {key} = true, without quotes"),
            findings,
        );
        None
    }

    /// A list of strings under `key`, or one string where `alone` allows it.
    pub(super) fn texts(
        &self,
        key: &str,
        alone: Alone,
        findings: &mut Findings,
    ) -> Vec<Spanned<&'a str>> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        match (entry.value.get_ref(), alone) {
            (DeValue::Array(list), _) => texts_of(key, list, findings),
            (DeValue::String(text), Alone::Allowed) => {
                vec![Spanned::new(entry.value.span(), text.as_ref())]
            }
            (DeValue::String(text), Alone::Refused) => {
                let words = text.split_whitespace().map(|word| format!("{word:?}"));
                let list = words.collect::<Vec<_>>().join(", ");
                let help = format!("write it as a list: {key} = [{list}]");
                entry.mistyped("a list of strings", help, findings);
                Vec::new()
            }
            (
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Table(_),
                _,
            ) => {
                let help = format!("write it as a list: {key} = [\"…\", \"…\"]");
                entry.mistyped("a list of strings", help, findings);
                Vec::new()
            }
        }
    }
}

/// Whether one string may stand where a list of strings is expected.
#[derive(Clone, Copy)]
pub(super) enum Alone {
    Allowed,
    Refused,
}

impl<'a> Entry<'a> {
    /// The string that this is.
    pub(super) fn as_text(&self, findings: &mut Findings) -> Option<Spanned<&'a str>> {
        if let DeValue::String(text) = self.value.get_ref() {
            return Some(Spanned::new(self.value.span(), text.as_ref()));
        }
        let help = match self.value.get_ref() {
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => "write it in quotes",
            DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => {
                "write one text in quotes"
            }
        };
        self.mistyped("a string", help, findings);
        None
    }

    /// Notes that the value is not of the kind that the key takes.
    pub(super) fn mistyped(&self, takes: &str, help: impl fmt::Display, findings: &mut Findings) {
        let message =
            format!("{:?} takes {takes}, not {}", self.key, kind_of(self.value.get_ref()));
        findings.add(self.value.span(), message, help);
    }
}

fn texts_of<'a>(
    key: &str,
    list: &'a DeArray<'a>,
    findings: &mut Findings,
) -> Vec<Spanned<&'a str>> {
    let mut texts = Vec::new();
    for item in list.iter() {
        if let DeValue::String(text) = item.get_ref() {
            texts.push(Spanned::new(item.span(), text.as_ref()));
        } else {
            let message = format!("{key:?} takes strings, not {}", kind_of(item.get_ref()));
            findings.add(item.span(), message, "write it in quotes");
        }
    }
    texts
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The remedy for what this version does not have.
struct Without<'a>(&'a str);

impl fmt::Display for Without<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leave it out; {}", self.0)
    }
}
