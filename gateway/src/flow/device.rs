//! The link between the TCP stack and a guest, as the stack wants it.
//!
//! The stack believes in a link that takes 64 KiB at once. What it sends becomes a superframe, whose
//! segments are as long as the guest's link and the guest's own limit allow.

use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken,
};
use smoltcp::time::Instant;

use super::Outlet;
use super::packet::{self, L3, Link, SYN};

/// What the stack takes for the MTU: the largest IP packet there is, less a little for options.
pub(super) const MTU: usize = 65_535;

/// A device for one pass: it may bring one packet.
pub(super) struct Wire<'a> {
    pub(super) incoming: Option<&'a [u8]>,
    pub(super) outlet: &'a mut dyn Outlet,
    pub(super) link: &'a Link,
    /// The payload of one segment.
    pub(super) segment: usize,
    /// Frames that may still go out in this pass.
    pub(super) budget: usize,
}

pub(super) struct Incoming<'a>(&'a [u8]);

pub(super) struct Outgoing<'a> {
    outlet: &'a mut dyn Outlet,
    link: &'a Link,
    segment: usize,
}

impl Device for Wire<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Outgoing<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.incoming.take()?;
        let outgoing = Outgoing { outlet: self.outlet, link: self.link, segment: self.segment };
        Some((Incoming(packet), outgoing))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoing<'_>> {
        if self.budget == 0 || !self.outlet.has_room() {
            return None;
        }
        self.budget -= 1;
        Some(Outgoing { outlet: self.outlet, link: self.link, segment: self.segment })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

pub(super) fn capabilities() -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::ignored();
    checksum.ipv4 = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = MTU;
    capabilities.checksum = checksum;
    capabilities
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let buffer = self.outlet.buffer();
        let packet = &mut buffer[L3..L3 + len];
        let result = write(packet);
        announce_segment(packet, self.link.mtu);
        if let Some(len) = packet::finish_tcp(buffer, self.link, len, self.segment) {
            // What is lost here the stack sends again.
            self.outlet.send(len);
        }
        result
    }
}

/// In a SYN, replaces the segment size of a 64 KiB link by that of the guest's.
fn announce_segment(packet: &mut [u8], mtu: u16) {
    let (l4, overhead) =
        if packet.first().is_some_and(|first| first >> 4 == 4) { (20, 40) } else { (40, 60) };
    if packet.get(l4 + 13).is_none_or(|flags| flags & SYN == 0) {
        return;
    }
    set_segment_size(packet.get_mut(l4..).unwrap_or_default(), mtu.saturating_sub(overhead));
}

/// Sets the MSS option of a TCP header to `size` and returns what it was; nothing without one.
pub(super) fn set_segment_size(tcp: &mut [u8], size: u16) -> Option<u16> {
    let end = usize::from(tcp.get(12)? >> 4) * 4;
    let mut at = 20;
    while at < end {
        match *tcp.get(at)? {
            0 => return None,
            1 => at += 1,
            2 if *tcp.get(at + 1)? == 4 => {
                let field: &mut [u8; 2] = tcp.get_mut(at + 2..)?.first_chunk_mut()?;
                let former = u16::from_be_bytes(*field);
                *field = size.to_be_bytes();
                return Some(former);
            }
            _ => at += usize::from(*tcp.get(at + 1)?).max(2),
        }
    }
    None
}
