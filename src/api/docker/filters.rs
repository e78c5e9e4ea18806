//! Docker's filters: what a list is narrowed down to.
//!
//! A JSON object whose keys are filters and whose values are either `{"value": true}` or
//! `["value"]`; both forms are in use. Values of one filter are alternatives, filters are
//! conditions; of labels every one is a condition.
//!
//! Docker takes the values of `name` and `id` for regular expressions, and so do we: they are read
//! once for a list, have a bounded size, and take time linear in the text whatever they say.

use std::collections::BTreeMap;

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use super::shapes::Pairs;
use crate::control::failure::Rejected;

/// How many patterns one filter may have.
const MAX_PATTERNS: usize = 32;
/// How many octets a pattern may take once it is read.
const MAX_PATTERN_SIZE: usize = 256 << 10;

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

    /// The values of a filter as regular expressions.
    pub(super) fn patterns(&self, key: &str) -> Result<Patterns, Rejected> {
        let values = self.values(key);
        if values.len() > MAX_PATTERNS {
            let message = format!("filter '{key}' has more than {MAX_PATTERNS} values");
            return Err(Rejected::new(400, message));
        }
        Ok(Patterns(values.iter().map(|value| (value.clone(), pattern(value))).collect()))
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
                // What newer engines say, and what older ones do.
                let values = values.join(" ");
                let message = format!(
                    "invalid filter '{key}=[{values}]': invalid value for filter '{key}', must be \
                     \"true\" (or \"1\"), or \"false\" (or \"0\")"
                );
                Err(Rejected::new(400, message))
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

/// The regular expressions of one filter, each with how it is written.
#[derive(Debug)]
pub(super) struct Patterns(Vec<(String, Option<Regex>)>);

impl Patterns {
    /// Whether there are none, or one of them fits: somewhere in `text`, unless it says where.
    pub(super) fn fit(&self, text: &str) -> bool {
        let fits = |(written, regex): &(String, Option<Regex>)| {
            written == text || regex.as_ref().is_some_and(|regex| regex.is_match(text.as_bytes()))
        };
        self.0.is_empty() || self.0.iter().any(fits)
    }
}

/// What is no regular expression fits nothing but itself, as in Docker.
fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).unicode(false).size_limit(MAX_PATTERN_SIZE).build().ok()
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
    fn a_name_fits_a_regular_expression_or_what_is_written() {
        let cases = [
            ("lu", "blue", true),
            ("^bl", "blue", true),
            ("^lu", "blue", false),
            ("ue$", "blue", true),
            ("^blue$", "blue", true),
            ("^blue$", "blues", false),
            ("b.*e$", "blue", true),
            ("^(red|blue)$", "blue", true),
            (r"^\\w{4}$", "blue", true),
            ("", "blue", true),
            ("red", "blue", false),
            ("(", "blue", false),
            ("(", "(", true),
            ("((((a{90}){90}){90}){90})", "aaaa", false),
        ];
        for (pattern, text, expected) in cases {
            let filters = filters(&format!(r#"{{"name": ["{pattern}"]}}"#)).unwrap();
            assert_eq!(filters.patterns("name").unwrap().fit(text), expected, "{pattern} {text}");
        }
        assert!(Filters::default().patterns("name").unwrap().fit("anything"));
    }

    #[test]
    fn patterns_are_not_many() {
        let with = |count: usize| {
            let filters = filters(&format!(r#"{{"name": {:?}}}"#, vec!["a"; count])).unwrap();
            filters.patterns("name").map(|patterns| patterns.fit("a"))
        };
        assert!(with(MAX_PATTERNS).unwrap());
        assert_eq!(with(MAX_PATTERNS + 1).unwrap_err().status, 400);
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
