//! Parents: the interface of the host's that a network is an extension of, and how.
//!
//! A parent is named as Docker does it: `eth0`, or `eth0.50` for the VLAN 50 on `eth0`. Which of
//! the two a name with a dot means is for whoever can look: an interface may be called `eth0.50`.

use std::fmt;
use std::str::FromStr;

use weft_frame::MacAddr;
use weft_switch::UplinkMode;

use super::id::is_device_name;

/// The most octets that a name of a parent has: a device's 15, a dot, and four digits.
const MAX: usize = 20;
/// The VLANs there are (IEEE 802.1Q §9.6).
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// The name of a parent: of a device, or of a device, a dot and a VLAN.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parent {
    octets: [u8; MAX],
    len: u8,
}

/// A text that cannot name a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no interface can have this name")]
pub struct BadParent;

impl Parent {
    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.octets[..usize::from(self.len)])
            .expect("it was made from a str, whole")
    }

    /// The device and the VLAN that the name stands for, if it can stand for such.
    pub fn vlan(&self) -> Option<(&str, u16)> {
        let (device, digits) = self.as_str().rsplit_once('.')?;
        let is_plain = !digits.starts_with('0') && digits.bytes().all(|d| d.is_ascii_digit());
        let vlan = digits.parse().ok().filter(|vlan| is_plain && VLANS.contains(vlan))?;
        is_device_name(device).then_some((device, vlan))
    }

    /// Whether a device can have the name.
    pub fn is_device(&self) -> bool {
        is_device_name(self.as_str())
    }
}

impl FromStr for Parent {
    type Err = BadParent;

    fn from_str(name: &str) -> Result<Self, BadParent> {
        let mut octets = [0; MAX];
        octets.get_mut(..name.len()).ok_or(BadParent)?.copy_from_slice(name.as_bytes());
        let parent = Self { octets, len: name.len() as u8 };
        if parent.is_device() || parent.vlan().is_some() { Ok(parent) } else { Err(BadParent) }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// How a network is tied to a larger one; what is not said is left to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UplinkOptions {
    /// The interface that leads out.
    pub parent: Option<Parent>,
    /// How endpoints reach each other.
    pub mode: Option<UplinkMode>,
    /// The interface's own address, once somebody has looked; nobody asks for it.
    pub mac: Option<MacAddr>,
}

impl UplinkOptions {
    /// The interface that leads out, and what it means for the endpoints.
    pub fn uplink(&self) -> Option<(Parent, UplinkMode)> {
        self.parent.map(|parent| (parent, self.mode.unwrap_or_default()))
    }
}

/// The modes by their names in files, commands and Docker's API.
pub const MODES: [(UplinkMode, &str); 4] = [
    (UplinkMode::Bridge, "bridge"),
    (UplinkMode::Private, "private"),
    (UplinkMode::Vepa, "vepa"),
    (UplinkMode::Passthru, "passthru"),
];

/// The name of a mode.
pub const fn mode_name(mode: UplinkMode) -> &'static str {
    match mode {
        UplinkMode::Bridge => "bridge",
        UplinkMode::Private => "private",
        UplinkMode::Vepa => "vepa",
        UplinkMode::Passthru => "passthru",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_a_device_or_a_vlan_of_one() {
        let cases = [
            ("eth0", true, None),
            ("eth0.50", true, Some(("eth0", 50))),
            ("br.lan.4094", true, Some(("br.lan", 4094))),
            ("eth0.0", true, None),
            ("eth0.4095", true, None),
            ("eth0.05", true, None),
            ("eth0.x", true, None),
            ("fifteen-letters.1", false, Some(("fifteen-letters", 1))),
            ("fifteen-letters.4094", false, Some(("fifteen-letters", 4094))),
        ];
        for (name, is_device, vlan) in cases {
            let parent: Parent = name.parse().unwrap();
            assert_eq!((parent.as_str(), parent.is_device()), (name, is_device));
            assert_eq!(parent.vlan(), vlan, "{name}");
        }
        let names = [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "sixteen-letters1",
            "fifteen-letters.4095",
            "fifteen-letters.40940",
            "sixteen-letters1.1",
            "\u{fc}mlaut",
        ];
        for name in names {
            assert_eq!(name.parse::<Parent>(), Err(BadParent), "{name}");
        }
    }

    #[test]
    fn a_mode_goes_by_one_name() {
        for (mode, name) in MODES {
            assert_eq!(mode_name(mode), name);
        }
    }
}
