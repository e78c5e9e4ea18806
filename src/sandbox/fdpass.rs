//! Passing a descriptor along with octets over a unix socket (SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors taken from one receive; the kernel closes what is beyond.
const MOST: usize = 4;

/// Sends octets, and with their first one a descriptor. Returns how many octets were sent.
///
/// # Errors
/// As `sendmsg`.
pub fn send(
    socket: BorrowedFd<'_>,
    octets: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed;
    if let Some(descriptor) = descriptor {
        passed = [descriptor];
        control.push(SendAncillaryMessage::ScmRights(&passed));
    }
    Ok(sendmsg(socket, &[IoSlice::new(octets)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives octets, and adds the descriptors that came with them to `descriptors`, each
/// close-on-exec. Returns how many octets were received; 0 when the peer is gone.
///
/// # Errors
/// As `recvmsg`.
pub fn receive(
    socket: BorrowedFd<'_>,
    octets: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(octets)];
    let received = recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    Ok(received.bytes)
}
