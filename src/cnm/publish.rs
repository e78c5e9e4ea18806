//! Published ports: which ports of the host lead to which ports of an endpoint.
//!
//! In Docker's words: `[ADDRESS:]PORT[-PORT]:PORT[-PORT][/tcp|/udp]`, the host's side first. An IPv6
//! address stands in brackets. Both ranges are equally long.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many ports one endpoint may publish.
pub const MAX_PORTS: usize = 4096;

/// Some ports of the host and the ports of an endpoint that they lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Publish {
    /// Where the host listens; everywhere when absent.
    pub address: Option<IpAddr>,
    /// What is published.
    pub protocol: Protocol,
    /// The first port of the host.
    pub host: u16,
    /// The first port of the endpoint.
    pub inside: u16,
    /// How many ports there are, at least one.
    pub count: u16,
}

/// What can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Why a text says no published port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPublish {
    /// There is no host port, or more colons than there can be.
    #[error("{0:?} is not [ADDRESS:]PORT:PORT[/tcp|/udp]")]
    Form(String),
    /// The address is none.
    #[error("{0:?} is no address to listen at")]
    Address(String),
    /// A port, or a range of them.
    #[error("{0:?} is no port from 1 to 65535, nor a range of such ports")]
    Port(String),
    /// The ranges differ.
    #[error("the ranges {0} and {1} are not equally long")]
    Lengths(String, String),
    /// The protocol.
    #[error("{0:?} cannot be published, only tcp and udp can")]
    Protocol(String),
    /// Too many.
    #[error("an endpoint publishes at most {MAX_PORTS} ports, these are {0}")]
    TooMany(usize),
}

impl Publish {
    /// Each pair of ports, the host's first.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let (host, inside) = (self.host, self.inside);
        (0..self.count).map(move |at| (host + at, inside + at))
    }

    /// Where the host listens for one of its ports, for an endpoint with IPv4 or IPv6 addresses or
    /// both.
    pub fn listens_at(&self, port: u16, families: (bool, bool)) -> Vec<SocketAddr> {
        let everywhere = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        let of_family = |address: &IpAddr| if address.is_ipv4() { families.0 } else { families.1 };
        let all = match self.address {
            Some(address) => vec![address],
            None => everywhere.to_vec(),
        };
        let all = all.into_iter().filter(of_family);
        all.map(|address| SocketAddr::new(address, port)).collect()
    }
}

/// Checks that an endpoint may publish all of these.
///
/// # Errors
/// [`BadPublish::TooMany`].
pub fn check(publish: &[Publish]) -> Result<(), BadPublish> {
    let count = publish.iter().map(|publish| usize::from(publish.count)).sum();
    if count > MAX_PORTS { Err(BadPublish::TooMany(count)) } else { Ok(()) }
}

impl Protocol {
    /// The protocol's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Publish {
    type Err = BadPublish;

    fn from_str(text: &str) -> Result<Self, BadPublish> {
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(BadPublish::Protocol(other.to_owned())),
        };
        let form = || BadPublish::Form(text.to_owned());
        let (rest, inside) = ports.rsplit_once(':').ok_or_else(form)?;
        let (address, host) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, host)) => {
                let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
                let bad = || BadPublish::Address(address.to_owned());
                let parsed: IpAddr = bare.unwrap_or(address).parse().map_err(|_| bad())?;
                if parsed.is_ipv6() != bare.is_some() || parsed.is_multicast() {
                    return Err(bad());
                }
                (Some(parsed), host)
            }
        };
        let ((host, count), (inside, other)) = (range(host)?, range(inside)?);
        if count != other {
            let ranges = [(host, count), (inside, other)].map(|(first, n)| shown(first, n));
            let [one, other] = ranges;
            return Err(BadPublish::Lengths(one, other));
        }
        Ok(Self { address, protocol, host, inside, count })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        let (host, inside) = (shown(self.host, self.count), shown(self.inside, self.count));
        write!(f, "{host}:{inside}/{}", self.protocol)
    }
}

impl Serialize for Publish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Publish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The first port of a range and how many there are.
fn range(text: &str) -> Result<(u16, u16), BadPublish> {
    let bad = || BadPublish::Port(text.to_owned());
    let port = |text: &str| {
        let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| is_number && *port > 0).ok_or_else(bad)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    let count = last.checked_sub(first).and_then(|more| more.checked_add(1)).ok_or_else(bad)?;
    Ok((first, count))
}

fn shown(first: u16, count: u16) -> String {
    match count {
        1 => first.to_string(),
        _ => format!("{first}-{}", u32::from(first) + u32::from(count) - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read_and_written_back() {
        let cases = [
            ("8080:80", "8080:80/tcp"),
            ("8080:80/tcp", "8080:80/tcp"),
            ("53:5353/udp", "53:5353/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("[::1]:8080:80/udp", "[::1]:8080:80/udp"),
            ("8000-8009:9000-9009", "8000-8009:9000-9009/tcp"),
            ("65535:1", "65535:1/tcp"),
            ("1-65535:1-65535", "1-65535:1-65535/tcp"),
        ];
        for (text, written) in cases {
            let publish: Publish = text.parse().unwrap();
            assert_eq!(publish.to_string(), written);
            assert_eq!(written.parse(), Ok(publish));
            assert_eq!(publish.pairs().count(), usize::from(publish.count));
        }
        let last = "1-65535:1-65535".parse::<Publish>().unwrap().pairs().last();
        assert_eq!(last, Some((65_535, 65_535)));
    }

    #[test]
    fn what_is_no_published_port_is_refused_with_the_reason() {
        let cases = [
            ("", "is not [ADDRESS:]PORT:PORT"),
            ("80", "is not [ADDRESS:]PORT:PORT"),
            ("0:80", "\"0\" is no port"),
            ("80:65536", "\"65536\" is no port"),
            ("+80:80", "\"+80\" is no port"),
            ("80:", "\"\" is no port"),
            ("9-8:1-2", "\"9-8\" is no port"),
            ("8000-8009:9000", "the ranges 8000-8009 and 9000 are not equally long"),
            ("80:80/sctp", "\"sctp\" cannot be published"),
            ("nowhere:80:80", "\"nowhere\" is no address"),
            ("::1:80:80", "\"::1\" is no address"),
            ("[127.0.0.1]:80:80", "\"[127.0.0.1]\" is no address"),
            ("224.0.0.1:80:80", "\"224.0.0.1\" is no address"),
        ];
        for (text, words) in cases {
            let error = text.parse::<Publish>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn the_host_listens_where_the_endpoint_can_answer() {
        let cases = [
            ("80:80", (true, true), vec!["0.0.0.0:80", "[::]:80"]),
            ("80:80", (true, false), vec!["0.0.0.0:80"]),
            ("127.0.0.1:80:80", (true, true), vec!["127.0.0.1:80"]),
            ("127.0.0.1:80:80", (false, true), vec![]),
        ];
        for (text, families, expected) in cases {
            let publish: Publish = text.parse().unwrap();
            let found: Vec<String> =
                publish.listens_at(80, families).iter().map(SocketAddr::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
        let many = "1-4000:1-4000".parse().unwrap();
        assert!(check(&[many]).is_ok() && check(&[many, many]).is_err());
    }
}
