//! Names and ids: what may be called how, and what was probably meant.
//!
//! An id is 32 octets, written as 64 hex digits, as Docker writes them; whoever makes a network or
//! an endpoint brings its id, so nothing here needs chance. A name follows Docker's rule. Where a
//! word is unknown, [`nearest`] finds the known one it is probably a misspelling of.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The longest name of a network, an endpoint or an alias, in characters.
///
/// 63 is what a DNS label may have (RFC 1035 §2.3.4), and every name here is answered as one.
pub const MAX_NAME: usize = 63;

/// The id of a network or an endpoint: 64 hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 32]);

impl Id {
    /// Makes an id from its octets.
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets of the id.
    pub const fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// All ids whose text begins with `text`, or none if no id can.
    pub(crate) fn all_beginning_with(text: &str) -> Option<RangeInclusive<Self>> {
        let is_beginning = (1..=64).contains(&text.len())
            && text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
        let filled = |with: &str| format!("{text}{}", with.repeat(64 - text.len())).parse().ok();
        is_beginning.then(|| Some(filled("0")?..=filled("f")?)).flatten()
    }

    /// The first 12 hex digits, which is what lists show.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.short())
    }
}

impl From<[u8; 32]> for Id {
    fn from(octets: [u8; 32]) -> Self {
        Self(octets)
    }
}

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(BadId);
        }
        let mut octets = [0; 32];
        for (octet, at) in octets.iter_mut().zip((0..64).step_by(2)) {
            *octet = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| BadId)?;
        }
        Ok(Self(octets))
    }
}

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 64 hex digits")]
pub struct BadId;

/// Whether `name` may name a network, an endpoint or an alias: a letter or digit, then letters,
/// digits, `_`, `.` and `-`; at most [`MAX_NAME`] characters.
///
/// Docker's rule for names, with DNS's limit on their length.
pub fn is_name(name: &str) -> bool {
    let mut octets = name.bytes();
    name.len() <= MAX_NAME
        && octets.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && octets.all(|octet| octet.is_ascii_alphanumeric() || b"_.-".contains(&octet))
}

/// Whether the kernel takes `name` for a network device: 1 to 15 octets, no slash, colon or white
/// space, and neither `.` nor `..`.
///
/// `dev_valid_name` in the kernel's `net/core/dev.c`, less the control characters it would allow,
/// and `%`, which asks it to choose a number.
pub fn is_device_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 15
        && name != "."
        && name != ".."
        && name.bytes().all(|octet| octet.is_ascii_graphic() && !b"/:%".contains(&octet))
}

/// The known word that `word` is most likely a misspelling of, if any is near enough.
///
/// Near is at most one slip (a letter wrong, missing, added, or two swapped) per three letters.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name is at most MAX_NAME long and distance costs their product, so a giant word is no
    // misspelling and is not measured.
    if word.len() > 4 * MAX_NAME {
        return None;
    }
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Writes words as a list for people: `a`, `a and b`, `a, b and c`.
pub(crate) fn listed<T: fmt::Display>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string()).collect();
    match words.as_slice() {
        [] => "none".to_owned(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_from_its_text() {
        let id = Id::new(std::array::from_fn(|at| at as u8 * 7));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.short(), id.to_string()[..12]);
        for text in ["", "00", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(text.parse::<Id>(), Err(BadId), "{text}");
        }
    }

    #[test]
    fn names_follow_dockers_rule_and_devices_the_kernels() {
        let long = "a".repeat(64);
        let cases = [
            // text            name   device
            ("blue", true, true),
            ("b", true, true),
            ("7_a.b-c", true, true),
            ("", false, false),
            ("-a", false, true),
            (".", false, false),
            ("..", false, false),
            ("a b", false, false),
            ("a/b", false, false),
            ("eth0:1", false, false),
            ("eth%d", false, false),
            ("blå", false, false),
            ("exactly-15-long", true, true),
            ("a-little-too-long", true, false),
            (&long, false, false),
        ];
        for (text, name, device) in cases {
            assert_eq!((is_name(text), is_device_name(text)), (name, device), "{text:?}");
        }
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["subnets", "gateway", "mac", "ip", "ip6", "internal"];
        let cases = [
            ("subnet", Some("subnets")),
            ("gatway", Some("gateway")),
            ("Gateway", Some("gateway")),
            ("mca", Some("mac")),
            ("ipv6", Some("ip6")),
            ("intrenal", Some("internal")),
            ("colour", None),
            ("x", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }

    #[test]
    fn lists_read_like_prose() {
        assert_eq!(listed::<&str>([]), "none");
        assert_eq!(listed(["a"]), "a");
        assert_eq!(listed(["a", "b", "c"]), "a, b and c");
    }
}
