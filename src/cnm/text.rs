//! How the model's values are written down: as the texts that people know them by.
//!
//! For `#[serde(with = …)]`: [`plain`](self) for values with `Display` and `FromStr`, [`maybe`] for
//! those that may be absent, [`options`] for a network's options as pairs.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Display,
    S: Serializer,
{
    serializer.collect_str(value)
}

pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map_err(Error::custom)
}

/// Values that may be absent.
pub(crate) mod maybe {
    use super::{Deserialize, Deserializer, Display, Error, FromStr, Serializer};

    pub(crate) fn serialize<T, S>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Display,
        S: Serializer,
    {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(Error::custom)).transpose()
    }
}

/// A network's options, as the pairs that every door takes.
pub(crate) mod options {
    use std::collections::BTreeMap;

    use super::{Deserialize, Deserializer, Error, Serializer};
    use crate::cnm::options::NetworkOptions;

    pub(crate) fn serialize<S: Serializer>(
        value: &NetworkOptions,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // All of them, so that a network stays as it is when a later version has other defaults.
        serializer.collect_map(value.pairs())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<NetworkOptions, D::Error> {
        let pairs = BTreeMap::<String, String>::deserialize(deserializer)?;
        NetworkOptions::parse(pairs.iter().map(|(key, value)| (&**key, &**value)))
            .map_err(Error::custom)
    }
}
