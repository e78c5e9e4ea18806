//! What all gateways share: the host's resolvers, and how many flows there may be.
//!
//! The bound on flows is for all guests together. A guest may hold no more than three times as many
//! as are free, so one guest alone gets three quarters of all, and the more there are the smaller
//! the part of each that takes all it can get; nobody is ever left without.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::linger::Linger;

/// Flows of all guests together, where the system allows as many descriptors.
const MOST_FLOWS: usize = 1 << 15;
/// How many times the free flows one guest may hold.
const GREED: usize = 3;
/// The port of DNS.
pub const DNS: u16 = 53;

/// The outside, as the gateways of an appliance see it.
#[derive(Debug)]
pub struct Outside {
    resolvers: ArcSwap<Vec<SocketAddr>>,
    flows: AtomicUsize,
    most: usize,
    /// Keys hash tables.
    pub seed: u64,
    /// Guests so far, so that each one's sequence numbers are its own.
    guests: AtomicU64,
    /// Finishes what guests that have gone began.
    pub linger: Arc<Linger>,
}

impl Outside {
    /// An outside that nobody has been to; `descriptors` is how many the process may have.
    pub fn new(seed: u64, descriptors: usize) -> Arc<Self> {
        let outside = Self {
            resolvers: ArcSwap::default(),
            flows: AtomicUsize::new(0),
            most: MOST_FLOWS.min(descriptors / 2),
            seed,
            guests: AtomicU64::new(0),
            linger: Arc::default(),
        };
        outside.look_up_resolvers();
        Arc::new(outside)
    }

    /// Reads who the host asks for names.
    pub fn look_up_resolvers(&self) {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let resolvers = resolvers(&text);
        if **self.resolvers.load() != resolvers {
            self.resolvers.store(Arc::new(resolvers));
        }
    }

    /// The host's resolvers, the first one first.
    pub fn resolvers(&self) -> Arc<Vec<SocketAddr>> {
        self.resolvers.load_full()
    }

    /// A number that nobody can guess.
    pub fn random(&self) -> u64 {
        let mut octets = [0; 8];
        // The kernel has randomness long before there is a network.
        let _ = rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty());
        u64::from_ne_bytes(octets)
    }

    /// A seed that no other guest has.
    pub fn fresh_seed(&self) -> u64 {
        // Odd, so that no two numbers of guests come to the same.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        self.seed ^ self.guests.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP)
    }

    /// Takes a place for one more flow of a guest that has `own`; false when it has its share.
    pub fn admit(&self, own: usize) -> bool {
        let taken = self.flows.fetch_add(1, Ordering::Relaxed);
        let free = self.most.saturating_sub(taken);
        if own < free.saturating_mul(GREED) {
            return true;
        }
        self.release(1);
        false
    }

    /// Takes places for flows that are there whatever happens.
    pub fn take(&self, count: usize) {
        self.flows.fetch_add(count, Ordering::Relaxed);
    }

    /// Gives the places of `count` flows back.
    pub fn release(&self, count: usize) {
        self.flows.fetch_sub(count, Ordering::Relaxed);
    }
}

/// The servers of a resolv.conf, three at most as everywhere; without any, the host itself.
fn resolvers(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let addresses = words.filter_map(|word| word.parse::<IpAddr>().ok());
    let mut found: Vec<SocketAddr> =
        addresses.map(|address| SocketAddr::new(address, DNS)).take(3).collect();
    if found.is_empty() {
        found.push(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), DNS));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_those_of_the_file_and_else_the_host_itself() {
        let cases = [
            ("", vec!["127.0.0.1:53"]),
            ("# nameserver 192.0.2.9\nsearch example\n", vec!["127.0.0.1:53"]),
            ("nameserver 192.0.2.1\nnameserver\tfd00::1 \n", vec!["192.0.2.1:53", "[fd00::1]:53"]),
            ("nameserver nobody\nnameserver 192.0.2.1\n", vec!["192.0.2.1:53"]),
        ];
        for (text, expected) in cases {
            let found: Vec<String> = resolvers(text).iter().map(SocketAddr::to_string).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn a_guest_gets_most_of_what_is_free_and_never_all() {
        let outside = Outside::new(0, 2000);
        let greedy = (0..).take_while(|own| outside.admit(*own)).count();
        assert_eq!(greedy, 750);
        let second = (0..).take_while(|own| outside.admit(*own)).count();
        assert!((150..=200).contains(&second), "{second}");
        assert!(outside.admit(0), "a third one finds room");
        outside.release(greedy);
        assert!(outside.admit(second));
    }
}
