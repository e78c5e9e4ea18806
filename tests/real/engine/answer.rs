//! What the docker CLI said with one side behind it, and how two such answers compare.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::support::program::Said;

/// What an error of the daemon's begins with.
const DAEMON: &str = "Error response from daemon: ";
/// Fields that Docker's API has had since 20.10, so that an older engine cannot say them.
const NEWER: [&str; 3] = ["EnableIPv4", "GwPriority", "DNSNames"];

/// What the docker CLI said, without what differs from run to run.
#[derive(Debug)]
pub(super) struct Answer {
    code: i32,
    out: Out,
    err: String,
}

#[derive(Debug)]
enum Out {
    Text(String),
    Json(Vec<Value>),
}

/// How weft's answer compares with the engine's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same.
    Same,
    /// The engine's words, and more.
    SaysMore,
    /// Something else, and what of it: the engine's and weft's.
    Differs(String, String),
}

impl Answer {
    /// What a program said.
    pub(super) fn of(said: &Said) -> Self {
        let json: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_str(&said.out).into_iter().collect();
        let out = match json {
            Ok(values) if values.iter().any(|value| value.is_object() || value.is_array()) => {
                Out::Json(values.into_iter().map(settled).collect())
            }
            Ok(_) | Err(_) => {
                let text = settled_text(&said.out);
                let mut lines: Vec<&str> = text.lines().collect();
                // The engine prunes in no order.
                if let Some((&mut "Deleted Networks:", names)) = lines.split_first_mut() {
                    names.sort_unstable();
                }
                Out::Text(lines.join("\n"))
            }
        };
        Self { code: said.code, out, err: settled_text(&said.err) }
    }

    /// What is said of something that worked and that each side does in its own way.
    pub(super) fn done() -> Self {
        Self { code: 0, out: Out::Text("done".to_owned()), err: String::new() }
    }

    /// The answer in one line.
    pub(super) fn line(&self) -> String {
        let out = match &self.out {
            Out::Text(text) => text.lines().collect::<Vec<_>>().join(" ⏎ "),
            Out::Json(_) => "JSON".to_owned(),
        };
        let err = self.err.lines().collect::<Vec<_>>().join(" ⏎ ").replace(DAEMON, "");
        let parts = [(self.code != 0).then(|| format!("{}:", self.code)), Some(out), Some(err)];
        let parts: Vec<String> =
            parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(" ") }
    }

    /// Compares the engine's answer, this one, with weft's.
    pub(super) fn compare(&self, weft: &Self) -> Verdict {
        let differs = || Verdict::Differs(self.line(), weft.line());
        if self.code != weft.code {
            return differs();
        }
        match (&self.out, &weft.out) {
            (Out::Text(engine), Out::Text(weft)) if engine == weft => {}
            (Out::Json(engine), Out::Json(weft)) => {
                let mut found = (Vec::new(), Vec::new());
                let (engine, weft) = (Value::from(engine.clone()), Value::from(weft.clone()));
                differences("", Some(&engine), Some(&weft), &mut found);
                if !found.0.is_empty() {
                    return Verdict::Differs(found.0.join(" ⏎ "), found.1.join(" ⏎ "));
                }
            }
            (Out::Text(_) | Out::Json(_), _) => return differs(),
        }
        let (engine, weft): (Vec<&str>, Vec<&str>) =
            (self.err.lines().collect(), weft.err.lines().collect());
        let words = |line: &str| line.replace(DAEMON, "").to_lowercase();
        if engine == weft {
            Verdict::Same
        } else if engine.len() == weft.len()
            && engine.iter().zip(weft).all(|(engine, weft)| words(weft).contains(&words(engine)))
        {
            Verdict::SaysMore
        } else {
            differs()
        }
    }
}

/// Gathers where two values differ, as `path: value`.
fn differences(
    path: &str,
    engine: Option<&Value>,
    weft: Option<&Value>,
    found: &mut (Vec<String>, Vec<String>),
) {
    let is_empty = |value: Option<&Value>| match value {
        Some(Value::Null) => true,
        Some(Value::Array(values)) => values.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => false,
    };
    if engine == weft || is_empty(engine) && is_empty(weft) {
        return;
    }
    match (engine, weft) {
        (Some(Value::Object(engine)), Some(Value::Object(weft))) => {
            let keys: BTreeSet<&String> = engine.keys().chain(weft.keys()).collect();
            for key in keys {
                if engine.contains_key(key) || !NEWER.contains(&key.as_str()) {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    differences(&path, engine.get(key), weft.get(key), found);
                }
            }
        }
        (Some(Value::Array(engine)), Some(Value::Array(weft))) => {
            for at in 0..engine.len().max(weft.len()) {
                // The list around everything that is told says nothing.
                let is_outer =
                    path.is_empty() && engine.get(at).is_some_and(|one| !one.is_string());
                let path = if is_outer { String::new() } else { format!("{path}[{at}]") };
                differences(&path, engine.get(at), weft.get(at), found);
            }
        }
        _ => {
            let text = |value: Option<&Value>| match value {
                Some(value) => format!("{path}: {value}"),
                None => format!("{path}: absent"),
            };
            found.0.push(text(engine));
            found.1.push(text(weft));
        }
    }
}

/// A value without what differs from run to run. What has an id for its key has its name for it.
fn settled(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(settled_text(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(settled).collect()),
        Value::Object(fields) => {
            let field = |(key, value): (String, Value)| {
                let name = value.get("Name").and_then(Value::as_str);
                let key = name.filter(|_| is_id(&key)).map_or(key.clone(), str::to_owned);
                (key, settled(value))
            };
            Value::Object(fields.into_iter().map(field).collect::<Map<_, _>>())
        }
        value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => value,
    }
}

/// A text without ids, moments and station addresses, its lines without blanks at their ends.
fn settled_text(text: &str) -> String {
    let line = |line: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ":.-+".contains(c);
        let mut settled = String::new();
        let mut rest = line.trim_end();
        while !rest.is_empty() {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (part, other) = rest.split_at(end);
            settled.push_str(standing_for(part));
            let gap = other.find(is_part).unwrap_or(other.len());
            settled.push_str(&other[..gap]);
            rest = &other[gap..];
        }
        settled
    };
    text.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

fn standing_for(part: &str) -> &str {
    let shape: String = part.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if is_id(part) {
        "ID"
    } else if part.strip_prefix("dm-").is_some_and(is_id) {
        // How the engine calls the dummy device of a network, also of one that has none.
        "dm-ID"
    } else if part.len() == 17
        && part.split(':').all(|octet| octet.len() == 2 && u8::from_str_radix(octet, 16).is_ok())
    {
        "MAC"
    } else if shape.starts_with("0000-00-00T00:00:00") {
        "MOMENT"
    } else if shape == "0000-00-00" {
        "DATE"
    } else if shape.starts_with("00:00:00") {
        "TIME"
    } else {
        part
    }
}

/// A whole id, or its first twelve digits.
fn is_id(text: &str) -> bool {
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    (text.len() == 64 || text.len() == 12) && text.bytes().all(is_hex)
}
