//! What each key of the file takes.
//!
//! One declaration for two readers: [`Section`](super::section::Section) refuses the keys that are
//! not declared, and [`schema`](super::schema) tells editors of those that are. Each section declares
//! its own keys beside the code that reads them.
//!
//! A declaration describes a value by itself. What depends on other values, such as whether a gateway
//! lies in its subnet, is for the code that reads it. So a declaration never refuses what the reader
//! takes; `tests/config/schema.rs` tries both with the same values.

use super::section::Alone;

/// The keys of a table.
pub(super) struct Keys {
    pub(super) known: &'static [Key],
    /// Those without which the table is not complete.
    pub(super) needed: &'static [&'static str],
    /// Those of which there is exactly one; none when the table has no such choice.
    pub(super) choice: &'static [&'static str],
    /// Those that this version does not have, each with what it lacks.
    pub(super) later: &'static [(&'static str, &'static str)],
}

/// A key of a table.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    /// What its absence means, as JSON, where that can be written as a value.
    pub(super) default: Option<&'static str>,
}

/// What a key takes.
pub(super) enum Takes {
    /// `true` or `false`.
    Truth,
    /// A whole number.
    Number { least: usize, most: usize },
    /// A string.
    Text(Form),
    /// One of these strings.
    Word(fn() -> Vec<&'static str>),
    /// A list of strings.
    Texts { of: Form, alone: Alone, least: usize, most: usize },
    /// A table with these keys.
    Table(&'static Keys),
    /// A list of tables with these keys.
    Tables { of: &'static Keys, least: usize, most: usize },
    /// A table whose keys the writer chooses.
    Map { names: Form, to: &'static Takes },
    /// The options of a network.
    Options,
    /// Any of these.
    Either(&'static [Takes]),
}

/// What a string looks like: a regular expression that all languages of them understand alike.
#[derive(Clone, Copy)]
pub(super) struct Form(pub(super) Option<&'static str>);

impl Form {
    pub(super) const ANY: Self = Self(None);
    /// [`is_name`](crate::cnm::id::is_name).
    pub(super) const NAME: Self = Self(Some("^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"));
    /// [`is_device_name`](crate::cnm::id::is_device_name), but for `.` and `..`.
    pub(super) const DEVICE: Self = Self(Some("^[!-$&-.0-9;-~]{1,15}$"));
    pub(super) const SUBNET: Self = Self(Some("^[0-9A-Fa-f:.]+/[0-9.]+$"));
    pub(super) const ADDRESS: Self = Self(Some("^[0-9A-Fa-f:.]+$"));
    pub(super) const IPV4: Self = Self(Some("^[0-9]{1,3}([.][0-9]{1,3}){3}$"));
    pub(super) const IPV6: Self = Self(Some("^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$"));
    pub(super) const MAC: Self = Self(Some("^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$"));
    pub(super) const PATH: Self = Self(Some("^[^\\x00]+$"));
    pub(super) const WHOLE_PATH: Self = Self(Some("^/[^\\x00]*$"));
}

impl Keys {
    pub(super) const fn new(known: &'static [Key]) -> Self {
        Self { known, needed: &[], choice: &[], later: &[] }
    }

    pub(super) const fn needed(self, needed: &'static [&'static str]) -> Self {
        Self { needed, ..self }
    }

    pub(super) const fn choice(self, choice: &'static [&'static str]) -> Self {
        Self { choice, ..self }
    }

    pub(super) const fn later(self, later: &'static [(&'static str, &'static str)]) -> Self {
        Self { later, ..self }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.known.iter().map(|key| key.name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

/// A key that takes something.
pub(super) const fn key(name: &'static str, takes: Takes) -> Key {
    Key { name, takes, default: None }
}

impl Key {
    /// With a default, written as JSON.
    pub(super) const fn or(self, json: &'static str) -> Self {
        let Self { name, takes, default: _ } = self;
        Self { name, takes, default: Some(json) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ipnetwork::IpNetwork;
    use regex::Regex;
    use weft_frame::MacAddr;

    use super::*;
    use crate::cnm::id::{is_device_name, is_name};

    fn looks(form: Form, text: &str) -> bool {
        form.0.is_none_or(|pattern| Regex::new(pattern).unwrap().is_match(text))
    }

    #[test]
    #[rustfmt::skip]
    fn a_form_takes_whatever_is_read_as_that() {
        let texts = [
            "", ".", "..", "a", "A-b_c.d", "-a", "a b", "a/b", "eth0", "eth0:1", "eth%d", "é",
            "!#$&~", "exactly-15-long", "a-little-too-long", "10.0.0.1", "010.0.0.1", "1.2.3",
            "256.1.1.1", "::", "::1", "fd00:10::1", "::ffff:10.0.0.1", "fe80::1%eth0",
            "10.0.0.0/24", "10.0.0.0/255.255.255.0", "fd00::/64", "10.0.0.0", "02:00:5e:10:00:01",
            "02-00-5E-10-00-01", "02:00:5e:10:00", "0:1:2:3:4:5", "/", "/run/x", "run/x", "a\0",
            "/a\0", "\n", &"x".repeat(63), &"x".repeat(64),
        ];
        let exactly = |form: Form, is: fn(&str) -> bool, also: &[&str]| {
            for text in texts {
                let expected = is(text) || also.contains(&text);
                assert_eq!(looks(form, text), expected, "{text:?} as {:?}", form.0);
            }
        };
        exactly(Form::ANY, |_| true, &[]);
        exactly(Form::NAME, is_name, &[]);
        exactly(Form::DEVICE, is_device_name, &[".", ".."]);
        exactly(Form::MAC, |text| text.parse::<MacAddr>().is_ok(), &[]);
        exactly(Form::PATH, |text| !text.is_empty() && !text.contains('\0'), &[]);
        exactly(Form::WHOLE_PATH, |text| text.starts_with('/') && !text.contains('\0'), &[]);
        let at_least = |form: Form, is: fn(&str) -> bool| {
            let missed = texts.into_iter().find(|text| is(text) && !looks(form, text));
            assert_eq!(missed, None, "as {:?}", form.0);
            assert!(!looks(form, "a b"));
        };
        at_least(Form::IPV4, |text| text.parse::<Ipv4Addr>().is_ok());
        at_least(Form::IPV6, |text| text.parse::<Ipv6Addr>().is_ok());
        at_least(Form::ADDRESS, |text| text.parse::<IpAddr>().is_ok());
        at_least(Form::SUBNET, |text| text.contains('/') && text.parse::<IpNetwork>().is_ok());
    }
}
