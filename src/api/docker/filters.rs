//! Docker's filters: what a list is narrowed down to.
//!
//! A JSON object whose keys are filters and whose values are either `{"value": true}` or
//! `["value"]`; both forms are in use. Values of one filter are alternatives, filters are
//! conditions; of labels every one is a condition.
//!
//! Docker takes the values of `name` and `id` for regular expressions. Of these, `^` and `$` are
//! understood here, and everything else is taken as it is written, which is what people mean by it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::shapes::Pairs;
use crate::control::failure::Rejected;

/// What a request narrows its list down to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

/// The `filters` of a query.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Query {
    pub(super) filters: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Set(BTreeMap<String, bool>),
    List(Vec<String>),
    One(String),
}

impl Filters {
    /// Reads filters, of which those in `known` are allowed.
    pub(super) fn read(query: &Query, known: &[&str]) -> Result<Self, Rejected> {
        let text = query.filters.as_deref().filter(|text| !text.is_empty()).unwrap_or("{}");
        let read: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|_| Rejected::new(400, format!("invalid filter {text:?}")))?;
        let mut filters = BTreeMap::new();
        for (key, values) in read {
            if !known.contains(&key.as_str()) {
                return Err(Rejected::new(400, format!("invalid filter '{key}'"))
                    .help(format!("the filters are {}", known.join(", "))));
            }
            let values = match values {
                Values::Set(set) => set
                    .into_iter()
                    .filter(|(_, is_meant)| *is_meant)
                    .map(|(value, _)| value)
                    .collect(),
                Values::List(list) => list,
                Values::One(value) => vec![value],
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    /// The values of a filter.
    pub(super) fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether a filter is not there, or one of its values passes.
    pub(super) fn passes(&self, key: &str, passes: impl Fn(&str) -> bool) -> bool {
        self.values(key).is_empty() || self.values(key).iter().any(|value| passes(value))
    }

    /// Whether a filter is not there, or `text` looks like one of its values.
    pub(super) fn is_like(&self, key: &str, text: &str) -> bool {
        self.passes(key, |pattern| is_like(pattern, text))
    }

    /// Whether `labels` has all that the filter names, as `key` or `key=value`.
    pub(super) fn has_labels(&self, key: &str, labels: &Pairs) -> bool {
        self.values(key).iter().all(|wanted| has_label(labels, wanted))
    }

    /// Whether `labels` has any that the filter names.
    pub(super) fn has_any_label(&self, key: &str, labels: &Pairs) -> bool {
        self.values(key).iter().any(|wanted| has_label(labels, wanted))
    }

    /// A filter that is true or false; `None` when it is not there.
    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>, Rejected> {
        match self.values(key) {
            [] => Ok(None),
            [value] if value == "true" || value == "1" => Ok(Some(true)),
            [value] if value == "false" || value == "0" => Ok(Some(false)),
            values => {
                Err(Rejected::new(400, format!("invalid filter '{key}={}'", values.join(","))))
            }
        }
    }
}

fn has_label(labels: &Pairs, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
        None => labels.contains_key(wanted),
    }
}

fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, from_start) = match pattern.strip_prefix('^') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    let (pattern, to_end) = match pattern.strip_suffix('$') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    match (from_start, to_end) {
        (true, true) => text == pattern,
        (true, false) => text.starts_with(pattern),
        (false, true) => text.ends_with(pattern),
        (false, false) => text.contains(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Result<Filters, Rejected> {
        let query = Query { filters: Some(text.to_owned()) };
        Filters::read(&query, &["name", "label", "dangling"])
    }

    #[test]
    fn both_forms_of_filters_are_read_and_unknown_ones_refused() {
        let set = filters(r#"{"name": {"a": true, "b": true, "c": false}}"#).unwrap();
        let list = filters(r#"{"name": ["a", "b"]}"#).unwrap();
        assert_eq!(set, list);
        assert_eq!(set.values("name"), ["a", "b"]);
        assert_eq!(filters("").unwrap(), Filters::default());
        for (text, message) in [
            (r#"{"colour": ["red"]}"#, "invalid filter 'colour'"),
            ("[]", "invalid filter \"[]\""),
            (r#"{"name": 3}"#, "invalid filter \"{\\\"name\\\": 3}\""),
        ] {
            let rejected = filters(text).unwrap_err();
            assert_eq!((rejected.status, rejected.failure.message.as_str()), (400, message));
        }
    }

    #[test]
    fn a_name_is_matched_in_part_or_whole() {
        let cases = [
            ("lu", "blue", true),
            ("^bl", "blue", true),
            ("^lu", "blue", false),
            ("ue$", "blue", true),
            ("^blue$", "blue", true),
            ("^blue$", "blues", false),
            ("", "blue", true),
            ("red", "blue", false),
        ];
        for (pattern, text, expected) in cases {
            let filters = filters(&format!(r#"{{"name": ["{pattern}"]}}"#)).unwrap();
            assert_eq!(filters.is_like("name", text), expected, "{pattern} {text}");
        }
        assert!(Filters::default().is_like("name", "anything"));
    }

    #[test]
    fn every_label_is_a_condition() {
        let labels = Pairs::from([
            ("tier".to_owned(), "back".to_owned()),
            ("a".to_owned(), "b=c".to_owned()),
        ]);
        let cases = [
            (r#"["tier"]"#, true),
            (r#"["tier=back"]"#, true),
            (r#"["tier=front"]"#, false),
            (r#"["tier", "a=b=c"]"#, true),
            (r#"["tier", "colour"]"#, false),
        ];
        for (text, expected) in cases {
            let filters = filters(&format!(r#"{{"label": {text}}}"#)).unwrap();
            assert_eq!(filters.has_labels("label", &labels), expected, "{text}");
        }
    }

    #[test]
    fn a_truth_is_written_in_words_or_digits() {
        for (value, expected) in [("true", Some(true)), ("0", Some(false)), ("maybe", None)] {
            let filters = filters(&format!(r#"{{"dangling": ["{value}"]}}"#)).unwrap();
            assert_eq!(filters.truth("dangling").ok().flatten(), expected);
        }
        assert_eq!(Filters::default().truth("dangling").unwrap(), None);
    }
}
