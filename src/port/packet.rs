//! An interface of the host's as a port: the uplink of a network.
//!
//! A packet socket hears everything that the interface hears, the host's own frames excepted, and
//! sends past the host's network stack. The host does not see what it sends either, so a host and
//! the endpoints on its interface do not reach each other, as with the kernel's macvlan.
//!
//! Superframes pass whole, both ways, and the kernel segments them where the wire begins. Where the
//! network is a VLAN, its tag is put in here on the way out (no octet of the frame is moved for it),
//! and on the way in only frames with that tag are taken. Where it is none, only untagged ones are,
//! and those with a priority and no VLAN.
//!
//! An interface that goes down comes back by itself; one that was deleted does not, and somebody
//! has to [`open`](Packet::open) the next of its name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType};
use weft_frame::MacAddr;
use weft_frame::header::TAG_LEN;
use weft_frame::virtio::{self, Offload};
use weft_switch::DropReason;

use crate::sys::packet::{self, Facts, HEADER};

/// The type of a customer VLAN's tag.
const TAG: u16 = 0x8100;
/// The part of a tag's control information that names the VLAN.
const VLAN_BITS: u16 = 0x0fff;
/// The octets of the two addresses, which a tag follows.
const ADDRESSES: usize = 12;

/// Without a signal when the other side is gone, and without waiting.
const AT_ONCE: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// A packet socket on an interface, or what keeps the place of one.
#[derive(Debug)]
pub struct Packet {
    fd: OwnedFd,
    device: String,
    vlan: Option<u16>,
    /// The interface, while there is one.
    facts: Option<Facts>,
}

/// What was read from the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A frame of this network, behind its virtio-net header: so many octets in all.
    Own(usize),
    /// A frame of another VLAN, of so many octets.
    Foreign(usize),
    /// A frame that is longer than the buffer.
    Giant(usize),
}

impl Packet {
    /// Opens the interface `device`, for the VLAN `vlan` or for untagged frames.
    ///
    /// # Errors
    /// `ENODEV` when there is none of that name, `EPERM` without `CAP_NET_RAW`; `EAFNOSUPPORT` when
    /// it carries no Ethernet.
    pub fn open(device: &str, vlan: Option<u16>) -> io::Result<Self> {
        let fd = packet::open()?;
        let facts = packet::facts(&fd, device)?;
        if !facts.is_ethernet {
            return Err(Errno::AFNOSUPPORT.into());
        }
        packet::bind(&fd, facts.index)?;
        Ok(Self { fd, device: device.to_owned(), vlan, facts: Some(facts) })
    }

    /// Keeps the place of an interface that is not there, by a socket that leads nowhere.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn absent(device: &str) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { fd, device: device.to_owned(), vlan: None, facts: None })
    }

    /// What the interface was when it was opened; none where there is none.
    pub fn facts(&self) -> Option<Facts> {
        self.facts
    }

    /// The interface's own address, when there is one.
    pub fn mac(&self) -> Option<MacAddr> {
        self.facts.map(|facts| facts.mac)
    }

    /// What the interface is now; none when it has gone, also when another has its name.
    pub fn look(&self) -> Option<Facts> {
        let opened = self.facts?;
        let now = packet::facts(&self.fd, &self.device).ok()?;
        (now.index == opened.index).then_some(now)
    }

    /// Whether there is an interface `device` at the moment.
    pub fn sees(&self, device: &str) -> bool {
        packet::facts(&self.fd, device).is_ok()
    }

    /// Reads one frame, with a virtio-net header of the length that TAPs have in front of it.
    ///
    /// # Errors
    /// As [`packet::receive`].
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let (before, frame) = buffer.split_at_mut(virtio::LEN);
        let mut header = [0; HEADER];
        let received = packet::receive(self.fd.as_fd(), &mut header, frame)?;
        if received.len > frame.len() {
            return Ok(Arrival::Giant(received.len));
        }
        if !self.is_own(received.tag) {
            return Ok(Arrival::Foreign(received.len));
        }
        before.fill(0);
        before[..HEADER].copy_from_slice(&swapped_where_big_endian(header));
        Ok(Arrival::Own(virtio::LEN + received.len))
    }

    /// Whether a frame with this tag belongs to the network.
    fn is_own(&self, tag: Option<(u16, u16)>) -> bool {
        match (tag, self.vlan) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((TAG, control)), own) => control & VLAN_BITS == own.unwrap_or(0),
            (Some(_), _) => false,
        }
    }

    /// Sends one frame, or one superframe, by the interface.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn transmit(&self, frame: &[u8], offload: Offload) -> Result<(), DropReason> {
        let tag_len = if self.vlan.is_some() { TAG_LEN } else { 0 };
        let header = offload.header(tag_len as u16).to_bytes();
        let (header, _) = header.split_first_chunk::<HEADER>().ok_or(DropReason::Rejected)?;
        let header = swapped_where_big_endian(*header);
        let (addresses, rest) = frame.split_at_checked(ADDRESSES).ok_or(DropReason::Rejected)?;
        let mut tag = [0; TAG_LEN];
        tag[..2].copy_from_slice(&TAG.to_be_bytes());
        tag[2..].copy_from_slice(&self.vlan.unwrap_or(0).to_be_bytes());
        let slices = [&header[..], addresses, &tag[..tag_len], rest].map(io::IoSlice::new);
        let mut no_control = SendAncillaryBuffer::default();
        rustix::net::sendmsg(&self.fd, &slices, &mut no_control, AT_ONCE).map(drop).map_err(refusal)
    }
}

impl AsFd for Packet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A packet socket's header is in the machine's byte order, a TAP's is little-endian.
fn swapped_where_big_endian(mut header: [u8; HEADER]) -> [u8; HEADER] {
    if cfg!(target_endian = "big") {
        for pair in header[2..].chunks_exact_mut(2) {
            pair.swap(0, 1);
        }
    }
    header
}

/// What a failed send means for the frame.
fn refusal(errno: Errno) -> DropReason {
    match errno {
        Errno::NETDOWN => DropReason::PortDown,
        Errno::NXIO | Errno::NODEV | Errno::NOTCONN => DropReason::PortGone,
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => DropReason::QueueFull,
        Errno::MSGSIZE => DropReason::TooBig,
        _ => DropReason::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(vlan: Option<u16>) -> Packet {
        Packet { vlan, ..Packet::absent("eth0").unwrap() }
    }

    #[test]
    fn a_network_takes_the_frames_of_its_vlan_and_no_others() {
        let cases = [
            (None, None, true),
            (None, Some((0x8100, 50)), false),
            (None, Some((0x8100, 0xe000)), true),
            (None, Some((0x88a8, 0)), false),
            (Some(50), None, false),
            (Some(50), Some((0x8100, 50)), true),
            (Some(50), Some((0x8100, 0xe000 | 50)), true),
            (Some(50), Some((0x8100, 51)), false),
            (Some(50), Some((0x8100, 0xe000)), false),
            (Some(50), Some((0x88a8, 50)), false),
        ];
        for (vlan, tag, is_own) in cases {
            assert_eq!(packet(vlan).is_own(tag), is_own, "{vlan:?} {tag:?}");
        }
    }

    #[test]
    fn what_keeps_the_place_of_an_interface_takes_nothing() {
        let absent = packet(Some(50));
        assert_eq!(absent.transmit(&[0; 60], Offload::None), Err(DropReason::PortGone));
        assert_eq!(absent.transmit(&[0; 11], Offload::None), Err(DropReason::Rejected));
        assert_eq!((absent.look(), absent.mac()), (None, None));
    }

    #[test]
    fn an_interface_that_cannot_be_an_uplink_is_refused() {
        // Without the right to open any, that is what is wrong with each.
        for (device, errno) in [("lo", Errno::AFNOSUPPORT), ("weftt-nobody", Errno::NODEV)] {
            let error = Packet::open(device, None).unwrap_err();
            let errnos = [errno, Errno::PERM].map(|errno| errno.raw_os_error());
            assert!(errnos.contains(&error.raw_os_error().unwrap_or_default()), "{error}");
        }
    }
}
