//! A stream socket that carries Ethernet frames, as `qemu -netdev stream` and `-netdev socket` do.
//!
//! Each frame is preceded by its length, 4 octets, big-endian. There are no superframes: what the
//! switch forwards here is segmented and its checksums are completed first. The socket never blocks
//! the worker. When the peer does not read, the rest of a frame already begun waits in a buffer of
//! one frame, and further frames are dropped and counted until it has gone out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::SendFlags;
use weft_frame::segment::{self, Segments};
use weft_frame::virtio::{self, Offload};
use weft_switch::DropReason;

/// The longest frame that may be announced; the length of the largest superframe.
pub const MAX_FRAME: usize = 65_535 + 18;
/// The octets in front of each frame.
const PREFIX: usize = 4;

/// Without a signal when the peer is gone, and without waiting.
const AT_ONCE: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// The connection, and what of a frame is still to be written.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    unsent: Mutex<Vec<u8>>,
    /// What was read of a frame so far; it stays when another worker takes the port over.
    inbox: Mutex<Reassembly>,
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
        Self { fd, unsent: Mutex::default(), inbox: Mutex::default() }
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

    /// What was read and not yet taken. Only the worker that reads the port asks for it.
    pub fn inbox(&self) -> MutexGuard<'_, Reassembly> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
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
            match rustix::net::send(&self.fd, unsent, AT_ONCE) {
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
        let sent =
            rustix::net::sendmsg(&self.fd, &slices, &mut no_control, AT_ONCE).map_err(refusal)?;
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

    /// Reads what the socket has, as far as there is room. Every whole frame must have been taken
    /// before, or there may be none.
    ///
    /// # Errors
    /// As `read`; `EAGAIN` when there is nothing.
    pub fn fill(&mut self, stream: &Stream) -> Result<usize, Errno> {
        if self.start > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, virtio::LEN);
            self.end -= self.start - virtio::LEN;
            self.start = virtio::LEN;
        }
        // Not `read`: whether that waits is up to whoever holds another copy of the descriptor.
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let (read, _) = rustix::net::recv(&stream.fd, &mut self.buffer[self.end..], flags)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, Stream) {
        let (guest, ours) = UnixStream::pair().unwrap();
        (guest, Stream::new(ours.into()))
    }

    fn framed(frame: &[u8]) -> Vec<u8> {
        [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
    }

    #[test]
    fn a_frame_that_comes_in_pieces_is_whole_whoever_reads_the_last_one() {
        let (mut guest, stream) = pair();
        let octets = framed(&[7; 60]);
        for piece in octets.chunks(9) {
            assert_eq!(stream.inbox().next_packet(), Ok(None));
            guest.write_all(piece).unwrap();
            // Each time as a worker does that has just taken the port over.
            stream.inbox().fill(&stream).unwrap();
        }
        let mut inbox = stream.inbox();
        let packet = inbox.next_packet().unwrap().unwrap();
        assert_eq!(packet, [&[0; virtio::LEN][..], &[7; 60]].concat());
        assert_eq!(inbox.next_packet(), Ok(None));
        assert_eq!(inbox.fill(&stream), Err(Errno::AGAIN));
    }

    #[test]
    fn frames_of_every_length_come_out_as_they_went_in() {
        let (mut guest, stream) = pair();
        let mut inbox = stream.inbox();
        for len in (0..300).chain([1514, 9014, 65_535, MAX_FRAME]) {
            let frame = vec![u8::try_from(len % 251).unwrap(); len];
            let octets = framed(&frame);
            let sender = {
                let mut guest = guest.try_clone().unwrap();
                std::thread::spawn(move || guest.write_all(&octets).unwrap())
            };
            let packet = loop {
                if let Some(packet) = inbox.next_packet().unwrap() {
                    break packet.to_vec();
                }
                let _ = inbox.fill(&stream);
            };
            sender.join().unwrap();
            assert_eq!(packet[..virtio::LEN], [0; virtio::LEN]);
            assert_eq!(packet[virtio::LEN..], frame, "{len}");
        }
        guest.write_all(&framed(&[])[..3]).unwrap();
        inbox.fill(&stream).unwrap();
        assert_eq!(inbox.next_packet(), Ok(None));
    }

    #[test]
    fn a_length_that_no_frame_has_is_the_end() {
        let (mut guest, stream) = pair();
        let too_long = u32::try_from(MAX_FRAME + 1).unwrap();
        guest.write_all(&too_long.to_be_bytes()).unwrap();
        let mut inbox = stream.inbox();
        inbox.fill(&stream).unwrap();
        assert_eq!(inbox.next_packet(), Err(Broken));
    }

    #[test]
    fn a_peer_that_does_not_read_gets_whole_frames_or_none() {
        let (guest, stream) = pair();
        let frame = [9; 1514];
        let sent = (0..).take_while(|_| stream.transmit(&frame, Offload::None, &mut []).is_ok());
        let sent = sent.count();
        assert!(sent > 1);
        assert_eq!(stream.transmit(&frame, Offload::None, &mut []), Err(DropReason::QueueFull));
        let (other, theirs) = (Stream::new(guest.into()), stream);
        let mut inbox = other.inbox();
        let mut received = 0;
        loop {
            while let Some(packet) = inbox.next_packet().unwrap() {
                assert_eq!(packet[virtio::LEN..], frame);
                received += 1;
            }
            let _ = theirs.flush();
            if inbox.fill(&other).is_err() {
                break;
            }
        }
        assert_eq!(received, sent);
    }
}
