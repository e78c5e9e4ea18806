//! Where frames enter and leave the appliance.
//!
//! A [`Port`] is a descriptor that frames are read from and written to, and the counters of what
//! passed. There are three kinds: a [`Tap`](PortKind::Tap) and an interface of the host's
//! ([`Packet`](PortKind::Packet)), which take superframes as they are, and a
//! [`Stream`](PortKind::Stream) socket to a virtual machine, which takes plain frames only.
//!
//! A port is read by one worker, its owner, and may be written by any. Writing to a TAP needs no
//! coordination (one `write` is one frame); a stream keeps a frame's octets together with a lock of
//! its own.

pub mod counters;
pub mod packet;
pub mod stream;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, ReadWriteFlags};
use weft_frame::Header;
use weft_frame::virtio::{self, Offload};
use weft_switch::{DropReason, PortId};

use crate::sys;
use counters::Counters;
use packet::Packet;
use stream::Stream;

/// Says that a positioned read or write is none.
const NO_OFFSET: u64 = u64::MAX;

/// One way into and out of the switch.
#[derive(Debug)]
pub struct Port {
    /// Its number in the topology.
    pub id: PortId,
    /// The largest IP packet it takes, in octets.
    pub mtu: u16,
    /// How frames cross it.
    pub kind: PortKind,
    /// One set of counters per worker, so that each is written by one thread.
    counters: Box<[Counters]>,
    /// Set when the other side has gone: the device was deleted, or the peer hung up.
    gone: AtomicBool,
    /// Set while a worker reads it, so that no second one does.
    claimed: AtomicBool,
    /// Whether the kernel takes the wish not to wait with each call (Linux 5.11 for a TAP).
    takes_nowait: AtomicBool,
}

/// The kinds of port.
#[derive(Debug)]
pub enum PortKind {
    /// A TAP in some network namespace; frames carry a virtio-net header.
    Tap(OwnedFd),
    /// A stream socket that speaks QEMU's framing.
    Stream(Stream),
    /// An interface of the host's, by which a network is part of a larger one.
    Packet(Packet),
}

/// Why a descriptor was refused as a port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The descriptor is not a TAP.
    #[error("the descriptor passed is not a TAP")]
    NotTap(#[source] io::Error),
    /// The descriptor is a TUN, or a TAP without virtio-net headers.
    #[error(
        "the TAP {0} has no virtio-net headers (IFF_TAP, IFF_NO_PI and IFF_VNET_HDR are needed)"
    )]
    NoHeaders(String),
    /// The descriptor is not a connected stream socket.
    #[error("the descriptor passed is not a connected stream socket")]
    NotStream,
    /// The kernel refused a setting.
    #[error("the descriptor cannot be set up")]
    SetUp(#[from] io::Error),
}

impl Port {
    /// Takes a TAP that somebody made in a namespace of theirs.
    ///
    /// # Errors
    /// When the descriptor is anything else: what a client passes is not trusted.
    pub fn tap(id: PortId, mtu: u16, workers: usize, fd: OwnedFd) -> Result<Self, PortError> {
        let identity = sys::tap::identify(fd.as_fd()).map_err(PortError::NotTap)?;
        if !identity.carries_superframes {
            return Err(PortError::NoHeaders(identity.name));
        }
        sys::tap::set_up(fd.as_fd())?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        Ok(Self::new(id, mtu, workers, PortKind::Tap(fd)))
    }

    /// Takes a connected stream socket whose other end is a virtual machine.
    ///
    /// # Errors
    /// When the descriptor is anything else.
    pub fn stream(id: PortId, mtu: u16, workers: usize, fd: OwnedFd) -> Result<Self, PortError> {
        let kind = rustix::net::sockopt::socket_type(&fd).map_err(|_| PortError::NotStream)?;
        if kind != rustix::net::SocketType::STREAM || rustix::net::getpeername(&fd).is_err() {
            return Err(PortError::NotStream);
        }
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        Ok(Self::new(id, mtu, workers, PortKind::Stream(Stream::new(fd))))
    }

    /// Takes an interface of the host's. One that is not there is gone from the start.
    pub fn packet(id: PortId, mtu: u16, workers: usize, packet: Packet) -> Self {
        let is_there = packet.facts().is_some();
        let port = Self::new(id, mtu, workers, PortKind::Packet(packet));
        if !is_there {
            port.mark_gone();
        }
        port
    }

    fn new(id: PortId, mtu: u16, workers: usize, kind: PortKind) -> Self {
        let counters = (0..workers).map(|_| Counters::default()).collect();
        Self {
            id,
            mtu,
            kind,
            counters,
            gone: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
            takes_nowait: AtomicBool::new(true),
        }
    }

    /// The counters that worker `worker` keeps for this port.
    pub fn counters(&self, worker: usize) -> &Counters {
        &self.counters[worker]
    }

    /// All workers' counters of this port, added up.
    pub fn totals(&self) -> counters::Totals {
        self.counters.iter().map(Counters::read).sum()
    }

    /// Makes the caller the one worker that reads this port; false while another one is.
    pub fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::Acquire)
    }

    /// Lets another worker read this port.
    pub fn release(&self) {
        self.claimed.store(false, Ordering::Release);
    }

    /// Reads one frame with its virtio-net header from a TAP, if there is one.
    ///
    /// Never waits: the descriptor's own mode could be changed by whoever holds a copy of it.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; `EBADFD` when the device has gone.
    pub fn read_tap(&self, tap: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        if self.takes_nowait.load(Ordering::Relaxed) {
            let mut slices = [io::IoSliceMut::new(buffer)];
            match rustix::io::preadv2(tap, &mut slices, NO_OFFSET, ReadWriteFlags::NOWAIT) {
                Err(Errno::OPNOTSUPP) => self.takes_nowait.store(false, Ordering::Relaxed),
                other => return other,
            }
        }
        rustix::io::read(tap, buffer)
    }

    fn write_tap(&self, tap: &OwnedFd, packet: &[u8]) -> rustix::io::Result<usize> {
        if self.takes_nowait.load(Ordering::Relaxed) {
            let slices = [io::IoSlice::new(packet)];
            match rustix::io::pwritev2(tap, &slices, NO_OFFSET, ReadWriteFlags::NOWAIT) {
                Err(Errno::OPNOTSUPP) => self.takes_nowait.store(false, Ordering::Relaxed),
                other => return other,
            }
        }
        rustix::io::write(tap, packet)
    }

    /// Marks that nothing will come from, or go to, this port any more.
    pub fn mark_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether the other side has gone.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Writes one frame, with its virtio-net header in front of it, to this port.
    ///
    /// `packet` is header and frame in one; `offload` what the header was found to say; `scratch`
    /// a buffer for the segments that a stream needs.
    ///
    /// # Errors
    /// Why this copy of the frame ended here.
    pub fn transmit(
        &self,
        packet: &[u8],
        offload: Offload,
        scratch: &mut [u8],
    ) -> Result<(), DropReason> {
        let frame = &packet[virtio::LEN..];
        let mtu = usize::from(self.mtu);
        if !offload.fits(frame.len(), mtu) && !offload.fits(untagged_len(frame), mtu) {
            return Err(DropReason::TooBig);
        }
        match &self.kind {
            PortKind::Tap(tap) => self.write_tap(tap, packet).map(drop).map_err(|errno| {
                let reason = refusal(errno);
                if reason == DropReason::PortGone {
                    self.mark_gone();
                }
                reason
            }),
            PortKind::Stream(stream) => stream.transmit(frame, offload, scratch),
            PortKind::Packet(packet) => packet.transmit(frame, offload),
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            PortKind::Tap(tap) => tap.as_fd(),
            PortKind::Stream(stream) => stream.as_fd(),
            PortKind::Packet(packet) => packet.as_fd(),
        }
    }
}

/// The length of a frame without its VLAN tags, which an MTU does not count.
fn untagged_len(frame: &[u8]) -> usize {
    let tags = Header::parse(frame).map_or(0, |header| header.payload - weft_frame::header::LEN);
    frame.len() - tags
}

/// What a failed write to a TAP means for the frame.
fn refusal(errno: Errno) -> DropReason {
    match errno {
        // The link is down: the sandbox may set it up again.
        Errno::IO => DropReason::PortDown,
        // The device was deleted, or its namespace was.
        Errno::BADFD | Errno::NODEV => DropReason::PortGone,
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => DropReason::QueueFull,
        _ => DropReason::Rejected,
    }
}
