//! The names of one network's endpoints, forwards and backwards.
//!
//! Names are kept as labels, as they stand in a message, in lower case: looking one up compares
//! octets and parses nothing.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::net::IpAddr;

/// The longest label.
const MAX_LABEL: usize = 63;
/// The longest name of an endpoint, which leaves room for a search domain in 255 octets.
const MAX_NAME: usize = 128;

/// Why a text is not the name of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A label is empty.
    #[error("a name must not be empty, nor have two dots together or a dot at an end")]
    Empty,
    /// A label is too long.
    #[error("a part of a name between dots has at most {MAX_LABEL} octets, this has {0}")]
    Label(usize),
    /// The name is too long.
    #[error("a name has at most {MAX_NAME} octets, this has {0}")]
    Name(usize),
}

/// Who is called what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    addresses: BTreeMap<Box<[u8]>, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, Box<[u8]>>,
}

impl Names {
    /// Starts with nobody.
    #[must_use]
    pub const fn new() -> Self {
        Self { addresses: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// Adds an endpoint's name, by which it is also found backwards.
    ///
    /// Several endpoints may have the same name; it then has all of their addresses.
    ///
    /// # Errors
    /// [`NameError`] if DNS cannot say the name; then nothing is added.
    pub fn add(&mut self, name: &str, addresses: &[IpAddr]) -> Result<(), NameError> {
        let labels = labels(name)?;
        for address in addresses {
            self.names.entry(*address).or_insert_with(|| labels.clone());
        }
        self.insert(labels, addresses);
        Ok(())
    }

    /// Adds a further name of an endpoint.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_alias(&mut self, alias: &str, addresses: &[IpAddr]) -> Result<(), NameError> {
        self.insert(labels(alias)?, addresses);
        Ok(())
    }

    fn insert(&mut self, labels: Box<[u8]>, addresses: &[IpAddr]) {
        match self.addresses.entry(labels) {
            Entry::Vacant(vacant) => {
                vacant.insert(addresses.to_vec());
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                for address in addresses {
                    if !known.contains(address) {
                        known.push(*address);
                    }
                }
            }
        }
    }

    /// The addresses of a name, given as labels in lower case without the root's.
    pub(super) fn addresses(&self, labels: &[u8]) -> Option<&[IpAddr]> {
        self.addresses.get(labels).map(Vec::as_slice)
    }

    /// The name of an address, as labels without the root's.
    pub(super) fn name(&self, address: IpAddr) -> Option<&[u8]> {
        self.names.get(&address).map(|labels| &**labels)
    }
}

/// A dotted name as labels in lower case, without the root's empty one.
pub(super) fn labels(name: &str) -> Result<Box<[u8]>, NameError> {
    if name.len() > MAX_NAME {
        return Err(NameError::Name(name.len()));
    }
    let mut labels = Vec::with_capacity(name.len() + 1);
    for label in name.split('.') {
        if label.is_empty() {
            return Err(NameError::Empty);
        }
        if label.len() > MAX_LABEL {
            return Err(NameError::Label(label.len()));
        }
        labels.push(label.len() as u8);
        labels.extend(label.bytes().map(|octet| octet.to_ascii_lowercase()));
    }
    Ok(labels.into_boxed_slice())
}

/// What stands before `zone` in `name`, both as labels in lower case; `None` if it is elsewhere.
pub(super) fn before<'a>(name: &'a [u8], zone: &[u8]) -> Option<&'a [u8]> {
    let prefix = name.strip_suffix(zone)?;
    let mut rest = prefix;
    while let [length, ..] = *rest {
        // The zone's octets could also stand within a label.
        rest = rest.get(1 + usize::from(length)..)?;
    }
    Some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_become_labels_in_lower_case_or_are_refused() {
        assert_eq!(*labels("Web.Blue").unwrap(), *b"\x03web\x04blue");
        assert_eq!(labels("a..b"), Err(NameError::Empty));
        assert_eq!(labels(""), Err(NameError::Empty));
        assert_eq!(labels("a."), Err(NameError::Empty));
        assert_eq!(labels(&"x".repeat(64)), Err(NameError::Label(64)));
        assert_eq!(labels(&"x.".repeat(70)), Err(NameError::Name(140)));
    }

    #[test]
    fn a_zone_is_found_at_labels_only() {
        let zone = b"\x04weft\x08internal\0";
        assert_eq!(before(b"\x03web\x04weft\x08internal\0", zone), Some(&b"\x03web"[..]));
        assert_eq!(before(zone, zone), Some(&b""[..]));
        assert_eq!(before(b"\x03web\x03com\0", zone), None);
        // A label of 9 octets that ends like the zone's first one, length and all.
        assert_eq!(before(b"\x09abcd\x04weft\x08internal\0", zone), None);
    }

    #[test]
    fn a_name_has_the_addresses_of_all_who_bear_it_and_an_address_its_first_name() {
        let (one, two): (IpAddr, IpAddr) =
            ("10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap());
        let mut names = Names::new();
        names.add("one", &[one]).unwrap();
        names.add("two", &[two]).unwrap();
        names.add_alias("Both", &[one]).unwrap();
        names.add_alias("both", &[two, one]).unwrap();
        assert_eq!(names.addresses(b"\x04both"), Some(&[one, two][..]));
        assert_eq!(names.name(two), Some(&b"\x03two"[..]));
        assert_eq!(names.addresses(b"\x05three"), None);
        let text = names.add("x..y", &[one]).unwrap_err().to_string();
        assert!(text.contains("two dots"), "{text}");
    }
}
