//! The life line: the connection whose end is a sandbox's end.
//!
//! A client asks `POST /weft/v1/attach` with `Upgrade: weft-lifeline`; after the answer `101` the
//! connection carries JSON messages, one a line, in both directions
//! ([`FromSandbox`](super::shapes::FromSandbox), [`FromAppliance`](super::shapes::FromAppliance)).
//! A port's descriptor travels with the message that announces it. When the connection closes, for
//! whatever reason, the appliance removes the sandbox's endpoints.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sandbox::fdpass;

/// The protocol's name in the `Upgrade` header.
pub const PROTOCOL: &str = "weft-lifeline";
/// The longest message, in octets. A hosts file of 10 000 neighbours fits.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Descriptors that may wait for their message.
const MAX_WAITING: usize = 16;

/// Messages as they come out of a stream of octets, with the descriptors that came along.
#[derive(Debug, Default)]
pub struct Inbox {
    octets: Vec<u8>,
    /// Descriptors received and not yet claimed by a message. They are closed when nothing more of
    /// a message is there: among them may be the peer's own end of this connection, which would
    /// then never close.
    pub descriptors: Vec<OwnedFd>,
}

impl Inbox {
    /// Takes what the socket has; false when the peer is gone.
    ///
    /// # Errors
    /// As `recvmsg`, with `WouldBlock` when there is nothing; `InvalidData` when the peer sends
    /// more than a message may be.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let mut octets = [0; 4096];
        let received = fdpass::receive(socket, &mut octets, &mut self.descriptors)?;
        self.octets.extend_from_slice(&octets[..received]);
        if self.octets.len() > MAX_MESSAGE || self.descriptors.len() > MAX_WAITING {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
        }
        Ok(received > 0)
    }

    /// The next whole message, when there is one.
    ///
    /// # Errors
    /// `InvalidData` when it is not what is spoken here.
    pub fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(end) = self.octets.iter().position(|octet| *octet == b'\n') else {
            if !self.has_begun() {
                self.descriptors.clear();
            }
            return Ok(None);
        };
        let message = serde_json::from_slice(&self.octets[..end]);
        self.octets.drain(..=end);
        Ok(Some(message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?))
    }

    /// Whether a message, or the beginning of one, is there.
    pub fn has_begun(&self) -> bool {
        !self.octets.is_empty()
    }
}

/// One message as octets.
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut octets = serde_json::to_vec(message).map_err(io::Error::other)?;
    octets.push(b'\n');
    Ok(octets)
}

/// The sandbox's end of a life line.
#[derive(Debug)]
pub struct Lifeline {
    socket: UnixStream,
    inbox: Inbox,
}

impl Lifeline {
    /// Speaks over a connection that [`Client::attach`](super::client::Client::attach) made.
    ///
    /// # Errors
    /// When the socket cannot be set up.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        Ok(Self { socket, inbox: Inbox::default() })
    }

    /// Sends a message, and a descriptor with it.
    ///
    /// # Errors
    /// `BrokenPipe` when the appliance is gone.
    pub fn send(
        &mut self,
        message: &impl Serialize,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let octets = encode(message)?;
        let mut sent = fdpass::send(self.socket.as_fd(), &octets, descriptor)?;
        while sent < octets.len() {
            sent += fdpass::send(self.socket.as_fd(), &octets[sent..], None)?;
        }
        Ok(())
    }

    /// Waits for the next message; `None` when the appliance is gone.
    ///
    /// # Errors
    /// As `recvmsg`; `InvalidData` for what is no message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.inbox.take()? {
                return Ok(Some(message));
            }
            match self.inbox.receive(self.socket.as_fd()) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits no longer than this for what the appliance says next.
    ///
    /// # Errors
    /// When there is nothing to wait for.
    pub fn wait_for(&mut self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }

    /// Ends the connection and waits, for no longer than `patience`, until the appliance has noticed:
    /// it hangs up once the sandbox is dismissed.
    pub fn part(mut self, patience: Duration) {
        let end = Instant::now() + patience;
        // A connection that is broken already has ended.
        let _ = self.socket.shutdown(Shutdown::Write);
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            let _ = self.socket.set_read_timeout(Some(left));
            let mut rest = [0; 4096];
            if !matches!(self.socket.read(&mut rest), Ok(1..)) {
                return;
            }
        }
    }

    /// Whether a message is there already, so that [`receive`](Self::receive) would not wait.
    pub fn has_message(&self) -> bool {
        self.inbox.octets.contains(&b'\n')
    }
}

impl AsFd for Lifeline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
