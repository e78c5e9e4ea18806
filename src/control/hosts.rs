//! The names and addresses that a sandbox finds in its hosts file.
//!
//! Sandboxes on the same networks have the same text, so the message that carries it is made once
//! for all of them, and again only after a name or an address has changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Control;
use crate::api::lifeline::{MAX_MESSAGE, encode};
use crate::api::shapes::FromAppliance;
use crate::cnm::Id;

/// What the lines of neighbours may take of a message, in octets; about 30 000 neighbours fit.
const MAX_LINES: usize = MAX_MESSAGE - (48 << 10);
/// How many messages are kept: as many as there are sets of networks that sandboxes have in common.
const MAX_MESSAGES: usize = 1024;
/// What a line takes in a message beyond its text: its tab and its end are escaped.
const ESCAPES: usize = 2;

/// Messages with hosts files, kept until a name or an address in their networks changes.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// By the networks they are for, each with the latest of those networks' versions.
    messages: BTreeMap<Vec<Id>, (u64, Arc<[u8]>)>,
    /// When names or addresses of a network changed last, counted in changes.
    versions: BTreeMap<Id, u64>,
    changes: u64,
}

/// Which hosts file somebody has: for which networks, and of when.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Edition(Option<(Vec<Id>, u64)>);

impl Hosts {
    /// Notes that somebody joined or left a network.
    pub(crate) fn changed(&mut self, network: Id) {
        self.changes += 1;
        self.versions.insert(network, self.changes);
    }

    /// Forgets a network that is gone.
    pub(crate) fn removed(&mut self, network: Id) {
        self.versions.remove(&network);
        self.messages.retain(|networks, _| !networks.contains(&network));
    }

    /// When names or addresses of any of these networks changed last.
    pub(super) fn version(&self, networks: &[Id]) -> u64 {
        networks
            .iter()
            .filter_map(|network| self.versions.get(network))
            .copied()
            .max()
            .unwrap_or_default()
    }
}

impl Control {
    /// The message with a sandbox's hosts file, if it is another than that of `known`, which then
    /// is this one's.
    pub(crate) fn hosts(&self, sandbox: Id, known: &mut Edition) -> Option<Arc<[u8]>> {
        let state = &mut *self.state();
        let sandbox = state.sandboxes.get(&sandbox)?;
        let mut networks: Vec<Id> = sandbox.endpoints.iter().map(|a| a.network).collect();
        networks.sort_unstable();
        networks.dedup();
        let version = state.hosts.version(&networks);
        let edition = Edition(Some((networks.clone(), version)));
        if *known == edition {
            return None;
        }
        *known = edition;
        if let Some((made_at, message)) = state.hosts.messages.get(&networks)
            && *made_at == version
        {
            return Some(Arc::clone(message));
        }
        let endpoints: Vec<Id> = sandbox.endpoints.iter().map(|a| a.assigned.id).collect();
        let text = text(&state.model.hosts_for(&endpoints));
        // Text alone can always be encoded.
        let message: Arc<[u8]> = encode(&FromAppliance::Hosts(text)).unwrap_or_default().into();
        if state.hosts.messages.len() >= MAX_MESSAGES {
            state.hosts.messages.clear();
        }
        state.hosts.messages.insert(networks, (version, Arc::clone(&message)));
        Some(message)
    }
}

/// A hosts file with as many of the lines as a message has room for.
fn text(hosts: &[(IpAddr, Vec<String>)]) -> String {
    let mut text = String::from(
        "# Written by weft: this sandbox and its neighbours.\n\
         127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    );
    let mut room = MAX_LINES;
    for (place, (address, names)) in hosts.iter().enumerate() {
        let line = format!("{address}\t{}\n", names.join(" "));
        match room.checked_sub(line.len() + ESCAPES) {
            Some(left) => room = left,
            None => {
                let left_out = hosts.len() - place;
                text.push_str(&format!("# {left_out} more would not fit.\n"));
                break;
            }
        }
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn hosts(count: u32, aliases: usize) -> Vec<(IpAddr, Vec<String>)> {
        let names = |n: u32| {
            let aliases = (0..aliases).map(|alias| format!("{alias}-{}", "x".repeat(50)));
            std::iter::once(format!("n{n}")).chain(aliases).collect()
        };
        (0..count).map(|n| (Ipv4Addr::from_bits(0x0a00_0000 + n).into(), names(n))).collect()
    }

    #[test]
    fn a_hosts_file_says_who_has_which_address() {
        let text = text(&hosts(2, 0));
        assert!(text.ends_with("\n10.0.0.0\tn0\n10.0.0.1\tn1\n"), "{text}");
    }

    #[test]
    fn a_hosts_file_never_outgrows_a_message() {
        for (count, aliases, is_whole) in
            [(10_000, 0, true), (30_000, 0, true), (100_000, 0, false), (16_384, 32, false)]
        {
            let text = text(&hosts(count, aliases));
            let lines = u32::try_from(text.lines().count()).unwrap() - 3;
            assert_eq!(lines == count, is_whole, "{count} with {aliases}: {lines}");
            if !is_whole {
                let left_out = count - (lines - 1);
                assert!(text.ends_with(&format!("\n# {left_out} more would not fit.\n")));
            }
            let message = encode(&FromAppliance::Hosts(text)).unwrap();
            assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
            assert!(is_whole || message.len() > MAX_MESSAGE - (64 << 10), "{}", message.len());
        }
    }
}
