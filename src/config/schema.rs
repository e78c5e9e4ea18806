//! The schema of the file, for editors: what completes, explains and checks while one types.
//!
//! What a key takes comes from its [declaration](super::keys); what it means, and an example, from
//! `config/weft.toml`, where a comment stands above every key. So neither is written twice.
//!
//! # Sources
//! JSON Schema draft 7. Editors differ in what they know (Taplo promises draft 4), so only keywords
//! are used that mean the same from draft 4 to 2020-12.

use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use super::FILE;
use super::keys::{Form, Key, Keys, Takes};
use super::section::{Alone, Entry, Section};
use crate::cnm::NetworkOptions;
use crate::cnm::options::OptionForm;

/// The file that has every key.
const EXAMPLE: &str = include_str!("../../config/weft.toml");

/// The JSON Schema of the file, as `weft schema` prints it.
pub fn schema() -> String {
    let root = DeTable::parse(EXAMPLE).expect("the example is part of the program, and tested");
    let root = DeValue::Table(root.into_inner());
    let mut schema = table(&FILE, &[&root]);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "weft.toml".into();
    schema["description"] =
        "Networks and endpoints of a weft appliance. `weft check FILE` checks more than an editor can."
            .into();
    format!("{schema:#}\n")
}

/// A table with these keys; `shown` is what the example has in its place, as often as it does.
fn table(keys: &Keys, shown: &[&DeValue<'_>]) -> Value {
    let sections = sections(shown);
    let property = |key: &Key| (key.name.to_owned(), property(key, &sections));
    let properties: Map<String, Value> = keys.known.iter().map(property).collect();
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !keys.needed.is_empty() {
        schema["required"] = json!(keys.needed);
    }
    if !keys.choice.is_empty() {
        let each = keys.choice.iter().map(|key| json!({ "required": [key] }));
        schema["oneOf"] = each.collect();
    }
    schema
}

fn property(key: &Key, sections: &[Section<'_>]) -> Value {
    let entries: Vec<&Entry<'_>> =
        sections.iter().filter_map(|section| section.entry(key.name)).collect();
    let shown: Vec<&DeValue<'_>> = entries.iter().map(|entry| entry.value.get_ref()).collect();
    let mut schema = value(&key.takes, &shown);
    explain(&mut schema, entries.first().copied());
    if let Some(default) = key.default {
        schema["default"] = serde_json::from_str(default).expect("defaults are written as JSON");
    }
    schema
}

/// A value of this kind; `shown` is what the example has in its place.
fn value(takes: &Takes, shown: &[&DeValue<'_>]) -> Value {
    match takes {
        Takes::Truth => json!({ "type": "boolean" }),
        Takes::Number { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Takes::Text(form) => text(*form),
        Takes::Word(words) => json!({ "type": "string", "enum": words() }),
        Takes::Texts { of, alone, least, most } => {
            let list = list(text(*of), *least, *most);
            match alone {
                Alone::Allowed => json!({ "anyOf": [list, text(*of)] }),
                Alone::Refused => list,
            }
        }
        Takes::Table(keys) => table(keys, shown),
        Takes::Tables { of, least, most } => {
            let items: Vec<&DeValue<'_>> = shown.iter().flat_map(|value| items(value)).collect();
            list(table(of, &items), *least, *most)
        }
        Takes::Map { names, to } => {
            let sections = sections(shown);
            let entries = sections.iter().flat_map(Section::entries);
            let shown: Vec<_> = entries.map(|entry| entry.value.get_ref()).collect();
            let each = value(to, &shown);
            match names.0 {
                None => json!({ "type": "object", "additionalProperties": each }),
                Some(pattern) => json!({
                    "type": "object",
                    "patternProperties": { pattern: each },
                    "additionalProperties": false,
                }),
            }
        }
        Takes::Options => options(shown),
        Takes::Either(kinds) => {
            let each: Vec<Value> = kinds.iter().map(|takes| value(takes, shown)).collect();
            json!({ "anyOf": each })
        }
    }
}

fn text(form: Form) -> Value {
    match form.0 {
        None => json!({ "type": "string" }),
        Some(pattern) => json!({ "type": "string", "pattern": pattern }),
    }
}

fn list(items: Value, least: usize, most: usize) -> Value {
    let mut schema = json!({ "type": "array" });
    schema["items"] = items;
    if least > 0 {
        schema["minItems"] = least.into();
    }
    if most < usize::MAX {
        schema["maxItems"] = most.into();
    }
    schema
}

/// The options of a network. Every option takes a string, as it does at the other doors.
fn options(shown: &[&DeValue<'_>]) -> Value {
    let sections = sections(shown);
    let defaults = NetworkOptions::default().pairs();
    let mut properties = Map::new();
    for (name, known_as, form) in NetworkOptions::forms() {
        let default = defaults.iter().find(|(key, _)| *key == known_as).map(|(_, value)| value);
        let (mut schema, default) = match form {
            OptionForm::Truth => {
                let kinds = json!([{ "type": "boolean" }, { "enum": ["true", "false"] }]);
                (json!({ "anyOf": kinds }), default.map(|word| json!(word == "true")))
            }
            OptionForm::Number { least, most } => {
                let number = json!({ "type": "integer", "minimum": least, "maximum": most });
                let kinds = json!([number, { "type": "string", "pattern": "^[0-9]+$" }]);
                let default = default.and_then(|digits| digits.parse::<u32>().ok());
                (json!({ "anyOf": kinds }), default.map(Value::from))
            }
            OptionForm::Words(words) => {
                (json!({ "type": "string", "enum": words }), default.map(|word| json!(word)))
            }
            OptionForm::Text(pattern) => {
                (text(Form(Some(pattern))), default.map(|text| json!(text)))
            }
        };
        explain(&mut schema, sections.iter().find_map(|section| section.entry(known_as)));
        if let Some(default) = default {
            schema["default"] = default;
        }
        properties.insert(name.to_owned(), schema);
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// Adds what the example says of a key, and what it has there.
fn explain(schema: &mut Value, entry: Option<&Entry<'_>>) {
    let Some(entry) = entry else { return };
    let comment = comment_above(entry.key_span.start);
    if !comment.is_empty() {
        schema["description"] = comment.into();
    }
    // Where there are few values, all are listed anyway.
    let is_open = schema.get("enum").is_none() && entry.value.get_ref().as_bool().is_none();
    if let Some(example) = json_of(entry.value.get_ref()).filter(|_| is_open) {
        schema["examples"] = json!([example]);
    }
}

/// The lines of comment above the line that has this octet.
fn comment_above(at: usize) -> String {
    let line = EXAMPLE[..at].rfind('\n').map_or(0, |end| end + 1);
    let above = EXAMPLE[..line].lines().rev();
    let mut lines: Vec<&str> =
        above.map_while(|line| line.trim().strip_prefix('#')).map(str::trim).collect();
    lines.reverse();
    lines.join(" ")
}

fn sections<'a>(shown: &[&'a DeValue<'a>]) -> Vec<Section<'a>> {
    let tables = shown.iter().filter_map(|value| match value {
        DeValue::Table(table) => Some(Section::new("", table)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => None,
    });
    tables.collect()
}

fn items<'a>(value: &'a DeValue<'a>) -> Vec<&'a DeValue<'a>> {
    value.as_array().into_iter().flatten().map(toml::Spanned::get_ref).collect()
}

/// A value as JSON; tables are left out, as their keys have examples of their own.
fn json_of(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(text.as_ref().into()),
        DeValue::Boolean(truth) => Some((*truth).into()),
        DeValue::Integer(number) => number.as_str().parse::<i64>().ok().map(Value::from),
        DeValue::Array(list) => list.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
