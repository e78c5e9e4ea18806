//! A stream socket that carries Ethernet frames, as `qemu -netdev stream` and `-netdev socket` do.
//!
//! Each frame is preceded by its length, 4 octets, big-endian. There are no superframes: what the
//! switch forwards here is segmented and its checksums are completed first. The socket never blocks
//! the worker. When the peer does not read, the rest of a frame already begun waits in a buffer of
//! one frame, and further frames are dropped and counted until it has gone out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use weft_frame::segment::{self, Segments};
use weft_frame::virtio::{self, Offload};
use weft_switch::DropReason;

/// The longest frame that may be announced; the length of the largest superframe.
pub const MAX_FRAME: usize = 65_535 + 18;
/// The octets in front of each frame.
const PREFIX: usize = 4;

/// The connection, and what of a frame is still to be written.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    unsent: Mutex<Vec<u8>>,
}

/// What was read from a stream and not yet taken as frames.
///
/// The octets in front of a frame always include room for a virtio-net header: the length prefix
/// and the frame before it are spent by then.
#[derive(Debug)]
pub struct Reassembly {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// The peer broke the framing, and nothing after that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Stream {
    /// Wraps a connected, non-blocking socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, unsent: Mutex::new(Vec::new()) }
    }

    /// Writes a frame, as one or as segments.
    ///
    /// # Errors
    /// The reason when the frame, or what remained of its segments, could not be sent.
    pub fn transmit(
        &self,
        frame: &[u8],
        offload: Offload,
        scratch: &mut [u8],
    ) -> Result<(), DropReason> {
        match offload {
            Offload::None => self.send(frame),
            Offload::Checksum { start, offset } => {
                let copy = scratch.get_mut(..frame.len()).ok_or(DropReason::TooBig)?;
                copy.copy_from_slice(frame);
                segment::complete_checksum(start, offset, copy);
                self.send(copy)
            }
            Offload::Segment(superframe) => {
                let segments = Segments::new(superframe, frame);
                for index in 0..segments.count() {
                    let len = segments.write(index, scratch).ok_or(DropReason::TooBig)?;
                    self.send(&scratch[..len])?;
                }
                Ok(())
            }
        }
    }

    /// Writes what is left of a frame begun earlier; to be called when the socket is writable.
    ///
    /// # Errors
    /// [`DropReason::PortGone`] when the peer hung up.
    pub fn flush(&self) -> Result<(), DropReason> {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        self.flush_locked(&mut unsent)
    }

    fn flush_locked(&self, unsent: &mut Vec<u8>) -> Result<(), DropReason> {
        while !unsent.is_empty() {
            match rustix::net::send(&self.fd, unsent, rustix::net::SendFlags::NOSIGNAL) {
                Ok(sent) => drop(unsent.drain(..sent)),
                Err(errno) => return Err(refusal(errno)),
            }
        }
        Ok(())
    }

    fn send(&self, frame: &[u8]) -> Result<(), DropReason> {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        self.flush_locked(&mut unsent)?;
        let prefix = (frame.len() as u32).to_be_bytes();
        let slices = [io::IoSlice::new(&prefix), io::IoSlice::new(frame)];
        let mut no_control = rustix::net::SendAncillaryBuffer::default();
        let flags = rustix::net::SendFlags::NOSIGNAL;
        let sent =
            rustix::net::sendmsg(&self.fd, &slices, &mut no_control, flags).map_err(refusal)?;
        // A frame begun must be finished, or the peer would take its next octets for a length.
        unsent.extend(prefix.iter().chain(frame).skip(sent));
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Reassembly {
    /// Room for one frame of the largest size and the beginning of the next.
    pub fn new() -> Self {
        let size = virtio::LEN + 2 * (PREFIX + MAX_FRAME);
        Self { buffer: vec![0; size].into_boxed_slice(), start: virtio::LEN, end: virtio::LEN }
    }

    /// Reads what the socket has, as far as there is room.
    ///
    /// # Errors
    /// As `read`; `EAGAIN` when there is nothing.
    pub fn fill(&mut self, stream: &Stream) -> Result<usize, Errno> {
        if self.start > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, virtio::LEN);
            self.end -= self.start - virtio::LEN;
            self.start = virtio::LEN;
        }
        let read = rustix::io::read(&stream.fd, &mut self.buffer[self.end..])?;
        self.end += read;
        Ok(read)
    }

    /// The next whole frame, behind an empty virtio-net header; or nothing yet.
    ///
    /// # Errors
    /// [`Broken`] when the announced length is no frame's.
    pub fn next_packet(&mut self) -> Result<Option<&mut [u8]>, Broken> {
        let Some(prefix) = self.buffer[self.start..self.end].first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > MAX_FRAME {
            return Err(Broken);
        }
        let frame = self.start + PREFIX;
        if self.end - frame < len {
            return Ok(None);
        }
        self.start = frame + len;
        let packet = &mut self.buffer[frame - virtio::LEN..frame + len];
        packet[..virtio::LEN].fill(0);
        Ok(Some(packet))
    }
}

impl Default for Reassembly {
    fn default() -> Self {
        Self::new()
    }
}

fn refusal(errno: Errno) -> DropReason {
    match errno {
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => DropReason::QueueFull,
        _ => DropReason::PortGone,
    }
}
