//! Options of a network: string pairs at every door, typed inside.
//!
//! Docker passes options as pairs of strings, the command line as `--opt key=value`, the file as a
//! table. All of them end in [`NetworkOptions::set`], so all know the same keys, take the same
//! values and refuse in the same words. What a running network can change is a struct of its own,
//! [`LiveOptions`]; the rest needs the network to be made again.

use std::fmt;
use std::num::NonZeroU32;

use weft_frame::MacAddr;
use weft_switch::UplinkMode;

use super::id::{listed, nearest};
use super::parent::{MODES, UplinkOptions, mode_name};

/// The MTU of a network whose options do not say one.
pub const DEFAULT_MTU: u16 = 1500;

/// The smallest MTU: what every IPv4 host takes (RFC 791 §3.1, "Total Length").
pub const MIN_MTU: u16 = 576;

/// The smallest MTU of a network with IPv6 (RFC 8200 §5).
pub const MIN_MTU_IPV6: u16 = 1280;

/// The fewest stations that an FDB can be asked to hold.
const MIN_FDB_CAPACITY: u32 = 16;

/// The most stations that an FDB can be asked to hold.
const MAX_FDB_CAPACITY: u32 = 1 << 20;

/// The largest MTU: what the kernel allows a TAP, 65535 less the Ethernet header.
pub const MAX_MTU: u16 = 65_521;

/// How many stations a network's FDB holds when its options do not say.
pub const DEFAULT_FDB_CAPACITY: u32 = 4096;

/// The options of a network.
#[derive(Clone, Copy, Debug)]
pub struct NetworkOptions {
    /// What can change while the network runs.
    pub live: LiveOptions,
    /// The largest IP packet of the network, in octets: [`MIN_MTU`] to [`MAX_MTU`].
    pub mtu: u16,
    /// Whether somebody asked for this MTU; if not, one with a parent takes over the parent's.
    pub mtu_given: bool,
    /// How many stations the FDB holds: 16 to 1 048 576.
    pub fdb_capacity: u32,
    /// What larger network it is a part of.
    pub uplink: UplinkOptions,
}

/// The options that change on a running network without disturbing anybody in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    /// Whether endpoints reach the gateway only, and not each other.
    pub isolated: bool,
    /// How many frames a second each port may flood; `None` is no limit.
    pub storm_control: Option<NonZeroU32>,
    /// Whether an endpoint may send from addresses that are not its own.
    pub spoof: Spoof,
    /// How long a station unheard stays in the FDB, in seconds: 10 to 1 000 000.
    pub fdb_age_s: u32,
}

/// Whether an endpoint may send from addresses that are not its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spoof {
    /// Such frames are dropped.
    #[default]
    Deny,
    /// Such frames pass; for routers, VRRP and nested networks.
    Allow,
}

// Who asked for an MTU matters where it could be the parent's, and nowhere else.
impl PartialEq for NetworkOptions {
    fn eq(&self, other: &Self) -> bool {
        let parts =
            |own: &Self| (own.live, own.mtu, own.has_parents_mtu(), own.fdb_capacity, own.uplink);
        parts(self) == parts(other)
    }
}

impl Eq for NetworkOptions {}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            live: LiveOptions::default(),
            mtu: DEFAULT_MTU,
            mtu_given: false,
            fdb_capacity: DEFAULT_FDB_CAPACITY,
            uplink: UplinkOptions::default(),
        }
    }
}

impl Default for LiveOptions {
    fn default() -> Self {
        // 300 s is what IEEE 802.1Q §8.8.3 recommends.
        Self { isolated: false, storm_control: None, spoof: Spoof::Deny, fdb_age_s: 300 }
    }
}

/// What the value of an option looks like, for whoever describes the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionForm {
    /// `true` or `false`.
    Truth,
    /// A whole number.
    Number {
        /// The smallest that is taken.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// One of these words.
    Words(&'static [&'static str]),
    /// A text that this regular expression matches.
    Text(&'static str),
}

/// Other names for options. Docker's word for the MTU is taken for ours, so that files and habits
/// carry over; and the mode needs not say whose it is.
const ALIASES: [(&str, Key); 2] =
    [("com.docker.network.driver.mtu", Key::Mtu), ("mode", Key::Mode)];

/// What the mode can be; nothing at all is the default.
const MODE_WORDS: [&str; 5] = [MODES[0].1, MODES[1].1, MODES[2].1, MODES[3].1, ""];

/// Options of the project that this version does not have.
const LATER: [&str; 3] = ["encrypted", "vni", "learn-peers"];

/// The names under which options are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Isolated,
    StormControl,
    Mtu,
    Spoof,
    FdbCapacity,
    FdbAge,
    Parent,
    Mode,
}

impl Key {
    const ALL: [Self; 8] = [
        Self::Isolated,
        Self::StormControl,
        Self::Mtu,
        Self::Spoof,
        Self::FdbCapacity,
        Self::FdbAge,
        Self::Parent,
        Self::Mode,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::StormControl => "storm-control",
            Self::Mtu => "mtu",
            Self::Spoof => "spoof",
            Self::FdbCapacity => "fdb-capacity",
            Self::FdbAge => "fdb-age",
            Self::Parent => "parent",
            Self::Mode => "macvlan_mode",
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Isolated => "true or false",
            Self::StormControl => {
                "frames per second for each port, such as \"1000/s\", or \"off\" for no limit"
            }
            Self::Mtu => "a number of octets from 576 to 65521",
            Self::Spoof => "\"allow\" or \"deny\"",
            Self::FdbCapacity => "a number of stations from 16 to 1048576",
            Self::FdbAge => {
                "a time from 10 s to 1000000 s with its unit, such as \"300s\" or \"5m\""
            }
            Self::Parent => {
                "the name of an interface, such as \"eth0\", or one and a VLAN from 1 to 4094, such \
                 as \"eth0.50\""
            }
            Self::Mode => "\"bridge\", \"private\", \"vepa\" or \"passthru\"",
        }
    }

    const fn form(self) -> OptionForm {
        match self {
            Self::Isolated => OptionForm::Truth,
            Self::StormControl => OptionForm::Text("^([0-9]+/s|off)$"),
            Self::Mtu => OptionForm::Number { least: MIN_MTU as u32, most: MAX_MTU as u32 },
            Self::Spoof => OptionForm::Words(&["deny", "allow"]),
            Self::FdbCapacity => {
                OptionForm::Number { least: MIN_FDB_CAPACITY, most: MAX_FDB_CAPACITY }
            }
            Self::FdbAge => OptionForm::Text("^[0-9]+[smh]$"),
            Self::Parent => OptionForm::Text("^[!-$&-.0-9;-~]{0,20}$"),
            Self::Mode => OptionForm::Words(&MODE_WORDS),
        }
    }

    fn find(name: &str) -> Option<Self> {
        let all = Self::ALL.into_iter().map(|key| (key.name(), key)).chain(ALIASES);
        all.into_iter().find(|(known, _)| *known == name).map(|(_, key)| key)
    }
}

impl NetworkOptions {
    /// Reads options from pairs of strings; what is not given keeps its default.
    ///
    /// # Errors
    /// The first pair with an unknown key or a value the key does not take.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for (key, value) in pairs {
            options.set(key, value)?;
        }
        Ok(options)
    }

    /// Whether the MTU is the parent's, and not one that somebody asked for.
    pub fn has_parents_mtu(&self) -> bool {
        self.uplink.parent.is_some() && !self.mtu_given
    }

    /// Takes over what a parent has.
    pub fn take_over(&mut self, mtu: u16, mac: MacAddr) {
        if self.has_parents_mtu() {
            self.mtu = mtu;
        }
        self.uplink.mac = Some(mac);
    }

    /// Sets one option from its name and value.
    ///
    /// # Errors
    /// [`OptionError`]; then nothing is changed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        let Some(known) = Key::find(key) else {
            return Err(match LATER.into_iter().find(|later| *later == key) {
                Some(key) => OptionError::Later { key },
                None => OptionError::Unknown { key: key.to_owned() },
            });
        };
        let accepted = match known {
            Key::Isolated => read_bool(value).map(|isolated| self.live.isolated = isolated),
            Key::StormControl => read_rate(value).map(|rate| self.live.storm_control = rate),
            Key::Mtu => read_number(value, u32::from(MIN_MTU), u32::from(MAX_MTU))
                .and_then(|mtu| u16::try_from(mtu).ok())
                .map(|mtu| (self.mtu, self.mtu_given) = (mtu, true)),
            Key::Spoof => read_spoof(value).map(|spoof| self.live.spoof = spoof),
            Key::FdbCapacity => read_number(value, MIN_FDB_CAPACITY, MAX_FDB_CAPACITY)
                .map(|capacity| self.fdb_capacity = capacity),
            Key::FdbAge => read_seconds(value, 10, 1_000_000).map(|age| self.live.fdb_age_s = age),
            Key::Parent => read_given(value).map(|parent| self.uplink.parent = parent),
            Key::Mode => read_mode(value).map(|mode| self.uplink.mode = mode),
        };
        accepted.ok_or_else(|| OptionError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: known.expected(),
        })
    }

    /// The options as pairs of strings, in a fixed order; `parse` of them gives them back.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = self.live.pairs();
        if !self.has_parents_mtu() {
            pairs.push((Key::Mtu.name(), self.mtu.to_string()));
        }
        pairs.push((Key::FdbCapacity.name(), self.fdb_capacity.to_string()));
        let UplinkOptions { parent, mode, mac: _ } = self.uplink;
        pairs.extend(parent.map(|parent| (Key::Parent.name(), parent.to_string())));
        pairs.extend(mode.map(|mode| (Key::Mode.name(), mode_name(mode).to_owned())));
        pairs
    }

    /// Whether the option's values are numbers, or true and false, where there are such.
    pub(crate) fn takes_numbers_and_truth(key: &str) -> bool {
        Key::find(key).is_some_and(|key| match key.form() {
            OptionForm::Truth | OptionForm::Number { .. } => true,
            OptionForm::Words(_) | OptionForm::Text(_) => false,
        })
    }

    /// What each option takes: by every name that it has, with the name that [`Self::pairs`] has.
    pub fn forms() -> impl Iterator<Item = (&'static str, &'static str, OptionForm)> {
        let all = Key::ALL.into_iter().map(|key| (key.name(), key)).chain(ALIASES);
        all.map(|(name, key)| (name, key.name(), key.form()))
    }

    /// The pairs that differ from the defaults.
    pub fn chosen(&self) -> Vec<(&'static str, String)> {
        let defaults = Self::default().pairs();
        self.pairs().into_iter().filter(|pair| !defaults.contains(pair)).collect()
    }
}

impl LiveOptions {
    /// The live options as pairs of strings, in a fixed order.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let storm = self.storm_control.map_or("off".to_owned(), |rate| format!("{rate}/s"));
        vec![
            (Key::Isolated.name(), self.isolated.to_string()),
            (Key::StormControl.name(), storm),
            (Key::Spoof.name(), self.spoof.to_string()),
            (Key::FdbAge.name(), format!("{}s", self.fdb_age_s)),
        ]
    }
}

impl fmt::Display for Spoof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        })
    }
}

fn read_bool(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn read_spoof(value: &str) -> Option<Spoof> {
    match value {
        "allow" => Some(Spoof::Allow),
        "deny" => Some(Spoof::Deny),
        _ => None,
    }
}

/// What a value reads as; nothing is given by an empty one, as in Docker's `-o parent=`.
fn read_given<T: std::str::FromStr>(value: &str) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { value.parse().ok().map(Some) }
}

fn read_mode(value: &str) -> Option<Option<UplinkMode>> {
    if value.is_empty() {
        return Some(None);
    }
    MODES.into_iter().find(|(_, name)| *name == value).map(|(mode, _)| Some(mode))
}

/// Digits only: no sign, no blank, no underscore; `None` outside `least..=most`.
fn read_number(value: &str, least: u32, most: u32) -> Option<u32> {
    if !value.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    value.parse().ok().filter(|number| (least..=most).contains(number))
}

fn read_rate(value: &str) -> Option<Option<NonZeroU32>> {
    if value == "off" {
        return Some(None);
    }
    let rate = read_number(value.strip_suffix("/s")?, 1, u32::MAX)?;
    NonZeroU32::new(rate).map(Some)
}

fn read_seconds(value: &str, least: u32, most: u32) -> Option<u32> {
    let (digits, unit_s) = [("s", 1), ("m", 60), ("h", 3600)]
        .into_iter()
        .find_map(|(unit, unit_s)| value.strip_suffix(unit).map(|digits| (digits, unit_s)))?;
    let seconds = read_number(digits, 0, u32::MAX)?.checked_mul(unit_s)?;
    Some(seconds).filter(|seconds| (least..=most).contains(seconds))
}

/// Why an option is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No option has this name.
    #[error("unknown option {key:?}")]
    Unknown {
        /// The name given.
        key: String,
    },
    /// The project has the option, but not in this version.
    #[error("option {key} is not in this version")]
    Later {
        /// The option.
        key: &'static str,
    },
    /// The option does not take this value.
    #[error("option {key} cannot be {value:?}")]
    Value {
        /// The option.
        key: String,
        /// The value given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
}

impl OptionError {
    /// Whether the option itself is refused, rather than its value.
    pub const fn is_about_key(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Later { .. } => true,
            Self::Value { .. } => false,
        }
    }

    /// What to write instead.
    pub fn help(&self) -> String {
        match self {
            Self::Unknown { key } => {
                let known = listed(Key::ALL.map(Key::name));
                match nearest(key, Key::ALL.map(Key::name)) {
                    Some(near) => format!("did you mean {near:?}? The options are {known}"),
                    None => format!("the options are {known}"),
                }
            }
            Self::Later { .. } => "leave it out; this version has no tunnels".to_owned(),
            Self::Value { expected, .. } => format!("it takes {expected}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_given_as_text_are_read_and_written_back() {
        let pairs = [
            ("isolated", "true"),
            ("storm-control", "1000/s"),
            ("spoof", "allow"),
            ("fdb-age", "10m"),
            ("com.docker.network.driver.mtu", "9000"),
            ("fdb-capacity", "65536"),
            ("parent", "eth0.50"),
            ("mode", "vepa"),
        ];
        let options = NetworkOptions::parse(pairs).unwrap();
        let expected = NetworkOptions {
            live: LiveOptions {
                isolated: true,
                storm_control: NonZeroU32::new(1000),
                spoof: Spoof::Allow,
                fdb_age_s: 600,
            },
            mtu: 9000,
            mtu_given: true,
            fdb_capacity: 65_536,
            uplink: UplinkOptions {
                parent: "eth0.50".parse().ok(),
                mode: Some(UplinkMode::Vepa),
                mac: None,
            },
        };
        assert_eq!(options, expected);

        let written = options.pairs();
        let again = NetworkOptions::parse(written.iter().map(|(key, value)| (*key, &**value)));
        assert_eq!(again, Ok(options));
        assert_eq!(options.chosen().len(), 8);
        assert_eq!(NetworkOptions::default().chosen(), []);
        let written = NetworkOptions::default().pairs();
        let again = NetworkOptions::parse(written.iter().map(|(key, value)| (*key, &**value)));
        assert_eq!(again, Ok(NetworkOptions::default()));
    }

    #[test]
    fn a_value_the_option_does_not_take_is_refused_and_changes_nothing() {
        let cases = [
            ("isolated", "yes"),
            ("isolated", ""),
            ("storm-control", "1000"),
            ("storm-control", "0/s"),
            ("storm-control", "4294967296/s"),
            ("storm-control", "/s"),
            ("mtu", "575"),
            ("mtu", "65522"),
            ("mtu", "+1500"),
            ("mtu", ""),
            ("spoof", "true"),
            ("fdb-capacity", "15"),
            ("fdb-capacity", "1048577"),
            ("fdb-age", "300"),
            ("fdb-age", "9s"),
            ("fdb-age", "1000001s"),
            ("fdb-age", "4294967295h"),
            ("fdb-age", "s"),
            ("parent", "a b"),
            ("parent", "much-too-long-a-name"),
            ("macvlan_mode", "source"),
        ];
        for (key, value) in cases {
            let mut options = NetworkOptions::default();
            let error = options.set(key, value).unwrap_err();
            assert!(matches!(error, OptionError::Value { .. }), "{key}={value}: {error}");
            assert_eq!(options, NetworkOptions::default());
        }
    }

    #[test]
    fn what_a_parent_gave_is_not_written_as_if_somebody_had_asked_for_it() {
        let mut options =
            NetworkOptions::parse([("parent", "eth0"), ("macvlan_mode", "")]).unwrap();
        options.take_over(9000, MacAddr([2; 6]));
        assert_eq!((options.mtu, options.uplink.mac), (9000, Some(MacAddr([2; 6]))));
        assert_eq!(options.chosen(), [("parent", "eth0".to_owned())]);
        options.set("mtu", "1400").unwrap();
        options.take_over(9000, MacAddr([2; 6]));
        assert_eq!(options.chosen()[0], ("mtu", "1400".to_owned()));
        options.set("parent", "").unwrap();
        assert_eq!(options.uplink.parent, None);
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_known_ones() {
        let error = NetworkOptions::parse([("isolate", "true")]).unwrap_err();
        assert_eq!(error.to_string(), "unknown option \"isolate\"");
        assert_eq!(
            error.help(),
            "did you mean \"isolated\"? The options are isolated, storm-control, mtu, spoof, \
             fdb-capacity, fdb-age, parent and macvlan_mode"
        );
    }
}
