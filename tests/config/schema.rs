//! The JSON Schema: committed as the program prints it, and of one mind with the program.
//!
//! The second opinion is a validator that knows nothing of weft, the one that Taplo uses. To commit
//! the schema anew run with `WEFT_RECORD=1`.

use std::fs;
use std::path::Path;

use jsonschema::{Draft, Validator};
use serde_json::Value as Json;
use toml::{Table, Value};
use weft::config::{Config, ConfigError, schema};

use super::files_in;

const COMMITTED: &str = "config/weft.schema.json";
const EVERY_KEY: &str = "config/weft.toml";

/// What the reader says of mistakes that a schema can know.
const KNOWABLE: [&str; 19] = [
    "\" takes ",
    "a default pool is a table",
    "a default pool needs",
    "cannot name a",
    "cannot name an",
    "has both",
    "has no network",
    "has no prefix length",
    "is not a MAC address",
    "is not a whole path",
    "is not in this version",
    "nothing is attached to endpoint",
    "option isolated cannot be",
    "option spoof cannot be",
    "the store cannot be",
    "unknown driver",
    "unknown key",
    "unknown option",
    "workers cannot be",
];

#[test]
fn the_committed_schema_is_what_the_program_prints() {
    if std::env::var_os("WEFT_RECORD").is_some() {
        fs::write(COMMITTED, schema()).unwrap();
    }
    let committed = fs::read_to_string(COMMITTED).unwrap_or_default();
    assert_eq!(schema(), committed, "record it with WEFT_RECORD=1");
}

#[test]
fn every_key_is_explained() {
    fn check(path: &str, schema: &Json) {
        for (key, own) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(own["description"].as_str().is_some_and(|text| text.len() > 10), "{path}");
            check(&path, own);
        }
        let lists = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array());
        lists.flatten().for_each(|kind| check(path, kind));
        let maps = schema["patternProperties"].as_object().into_iter().flatten();
        maps.for_each(|(_, each)| check(path, each));
        let others =
            ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
        others.for_each(|own| check(path, own));
    }
    check("", &parsed());
}

#[test]
fn what_we_ship_and_document_is_valid_to_editors() {
    let validator = validator(Draft::Draft7);
    for path in files_in("config") {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(complaint(&validator, &text), None, "{}", path.display());
    }
    let documents = ["README.md".into()].into_iter().chain(documents_in("docs"));
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            assert_eq!(complaint(&validator, block), None, "{}: {block}", path.display());
            assert!(Config::parse(block, &path).is_ok(), "{}: {block}", path.display());
        }
    }
}

#[test]
fn a_mistake_that_a_schema_can_know_is_one_to_editors_too() {
    let validator = validator(Draft::Draft7);
    let mut known = 0;
    for path in files_in("tests/vectors/bad") {
        // What is no TOML is nothing to a schema.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if text.parse::<Table>().is_ok() && !knowable(&text).is_empty() {
            known += 1;
            assert_ne!(complaint(&validator, &text), None, "{}", path.display());
        }
    }
    assert!(known >= 20, "{known}");
}

/// Every value of the example is replaced by values of every kind, left out, and joined by a key
/// that does not exist. Where the schema complains so does the reader, and the other way round if
/// a schema can know.
#[test]
fn the_schema_and_the_reader_are_of_one_mind() {
    let validators = [Draft::Draft7, Draft::Draft4, Draft::Draft202012].map(validator);
    let example: Table = fs::read_to_string(EVERY_KEY).unwrap().parse().unwrap();
    let example = Value::Table(example);
    let mut tried = 0;
    for place in places(&example) {
        for changed in changes(&example, &place) {
            let text = toml::to_string(&changed).unwrap();
            let [complaint, others @ ..] = validators.each_ref().map(|own| complaint(own, &text));
            for other in others {
                assert_eq!(other.is_some(), complaint.is_some(), "{place:?}\n{text}");
            }
            let refused = Config::parse(&text, Path::new("x")).is_err();
            assert!(refused || complaint.is_none(), "{place:?}: {complaint:?}\n{text}");
            let known = knowable(&text);
            assert!(complaint.is_some() || known.is_empty(), "{place:?}: {known:?}\n{text}");
            tried += 1;
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn a_default_is_what_leaving_the_key_out_means() {
    let schema = parsed();
    let example: Table = fs::read_to_string(EVERY_KEY).unwrap().parse().unwrap();
    let example = Value::Table(example);
    let mut tried = 0;
    for place in places(&example) {
        let Some(default) = at_schema(&schema, &place).and_then(|own| own.get("default")) else {
            continue;
        };
        let default = Value::try_from(default).unwrap();
        let [written, left_out] = [Some(default), None].map(|value| {
            let text = toml::to_string(&with(&example, &place, value)).unwrap();
            // What a default makes of the other keys may be refused: a "bridge" has no parent.
            Config::parse(&text, Path::new("x")).map_err(|_| "refused")
        });
        assert_eq!(written, left_out, "{place:?}");
        tried += 1;
    }
    assert!(tried >= 12, "{tried}");
}

fn parsed() -> Json {
    serde_json::from_str(&schema()).unwrap()
}

fn validator(draft: Draft) -> Validator {
    let mut schema = parsed();
    schema.as_object_mut().unwrap().remove("$schema");
    jsonschema::options().with_draft(draft).build(&schema).unwrap()
}

/// What the schema has against a file.
fn complaint(validator: &Validator, text: &str) -> Option<String> {
    let table: Table = text.parse().unwrap();
    let json = serde_json::to_value(table).unwrap();
    let error = validator.iter_errors(&json).next()?;
    Some(format!("{}: {error}", error.instance_path()))
}

/// What the reader has against a file, as far as a schema can know.
fn knowable(text: &str) -> Vec<String> {
    let Err(ConfigError::Invalid(report)) = Config::parse(text, Path::new("x")) else {
        return Vec::new();
    };
    let messages = report.findings().iter().map(|finding| finding.message.clone());
    messages.filter(|text| KNOWABLE.iter().any(|known| text.contains(known))).collect()
}

fn documents_in(folder: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The way to a value: keys of tables, and places in lists as digits.
type Place = Vec<String>;

fn children(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect()
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => Vec::new(),
    }
}

fn places(value: &Value) -> Vec<Place> {
    let mut all = Vec::new();
    for (key, child) in children(value) {
        all.push(vec![key.clone()]);
        all.extend(places(child).into_iter().map(|rest| [vec![key.clone()], rest].concat()));
    }
    all
}

/// The value with another at this place, or with none.
fn with(value: &Value, place: &[String], other: Option<Value>) -> Value {
    let mut changed = value.clone();
    let (last, way) = place.split_last().unwrap();
    let parent = way.iter().fold(&mut changed, |at, key| match key.parse::<usize>() {
        Ok(index) => &mut at[index],
        Err(_) => &mut at[key.as_str()],
    });
    match (parent, other) {
        (Value::Table(table), Some(other)) => _ = table.insert(last.clone(), other),
        (Value::Table(table), None) => _ = table.remove(last),
        (Value::Array(list), Some(other)) => list[last.parse::<usize>().unwrap()] = other,
        (Value::Array(list), None) => _ = list.remove(last.parse().unwrap()),
        (parent, _) => panic!("{parent} has nothing inside"),
    }
    changed
}

fn changes(example: &Value, place: &Place) -> Vec<Value> {
    let numbers = [-1, 0, 1, 15, 16, 64, 65, 128, 129, 575, 576, 65_521, 65_522, 1 << 20, 1 << 21];
    let texts = [
        "",
        "x",
        "a b",
        "/x",
        "a/b",
        "true",
        "1000",
        "off",
        "0/s",
        "10/s",
        "5m",
        "5",
        "null",
        "host",
        "allow",
        "memory",
        "10.0.0.0/8",
        "10.0.0.1",
        "fd00::1",
        "fd00::/64",
        "02:00:00:00:00:09",
    ];
    let table = |value: Value| Value::Table(Table::from_iter([("surprise".to_owned(), value)]));
    let list = |values: &[Value]| Value::Array(values.to_vec());
    let mut others: Vec<Value> = numbers.into_iter().map(Value::Integer).collect();
    others.extend(texts.map(|text| Value::String(text.to_owned())));
    others.extend([Value::Boolean(true), Value::Boolean(false), Value::Float(1.5)]);
    others.extend([
        list(&[]),
        list(&["x".into()]),
        list(&["10.0.0.0/8".into()]),
        list(&[1.into()]),
    ]);
    others.extend([Value::Table(Table::new()), table(1.into()), table("x".into())]);
    others.extend([table(table("x".into())), table(list(&[]))]);
    let changed = others.into_iter().map(Some).chain([None]);
    let mut changed: Vec<Value> = changed.map(|other| with(example, place, other)).collect();
    if is_table(example, place) {
        let inside = [place.clone(), vec!["surprise".to_owned()]].concat();
        let surprises = [Value::Integer(1), "x".into(), Value::Table(Table::new())];
        changed.extend(surprises.map(|surprise| with(example, &inside, Some(surprise))));
    }
    changed
}

fn is_table(value: &Value, place: &[String]) -> bool {
    let found = place.iter().fold(value, |at, key| match key.parse::<usize>() {
        Ok(index) => &at[index],
        Err(_) => &at[key.as_str()],
    });
    found.is_table()
}

/// What the schema says of a place.
fn at_schema<'a>(schema: &'a Json, place: &[String]) -> Option<&'a Json> {
    let Some((key, rest)) = place.split_first() else { return Some(schema) };
    let each = schema["patternProperties"].as_object().into_iter().flatten();
    let kinds = schema["anyOf"].as_array().into_iter().flatten();
    let here = [schema["properties"].get(key), schema.get("items")].into_iter().flatten();
    let here = here.chain(each.map(|(_, each)| each));
    let found = here.filter_map(|own| at_schema(own, rest)).next();
    found.or_else(|| kinds.filter_map(|kind| at_schema(kind, place)).next())
}
