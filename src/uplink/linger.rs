//! The last octets of connections whose guest has gone.
//!
//! What was acknowledged to a guest must reach the outside also when the guest ends at once, as
//! programs do that have sent what they had. So when a port goes, what its connections still held
//! is handed to a thread that does nothing but send it, for as long as a host's own socket would be
//! given. It starts with the first such octets and ends with the last.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

/// How long the outside may take to take the rest.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that are waited for at once; further ones are broken off.
const MOST: usize = 1024;

/// A connection that only has something left to send.
#[derive(Debug)]
pub struct Remainder {
    /// Its socket.
    pub socket: OwnedFd,
    /// What is to be sent before it ends.
    pub octets: Vec<u8>,
}

/// Sends remainders.
#[derive(Debug, Default)]
pub struct Linger {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    new: Vec<Remainder>,
    count: usize,
    is_running: bool,
}

impl Linger {
    /// Takes a connection over. The thread needs `self` for as long as it runs.
    pub fn take(self: &std::sync::Arc<Self>, mut remainder: Remainder) {
        if advance(&mut remainder) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.count >= MOST {
            return;
        }
        waiting.count += 1;
        waiting.new.push(remainder);
        if !waiting.is_running {
            let linger = std::sync::Arc::clone(self);
            let thread = std::thread::Builder::new().name("linger".to_owned());
            waiting.is_running = thread.spawn(move || linger.run()).is_ok();
        }
    }

    fn run(&self) {
        let mut held: Vec<(Remainder, Instant)> = Vec::new();
        loop {
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let until = Instant::now() + PATIENCE;
                held.extend(waiting.new.drain(..).map(|remainder| (remainder, until)));
                waiting.count = held.len();
                if held.is_empty() {
                    waiting.is_running = false;
                    return;
                }
            }
            let mut watched: Vec<PollFd<'_>> = held
                .iter()
                .map(|(remainder, _)| PollFd::new(&remainder.socket, PollFlags::OUT))
                .collect();
            // Now and then there are new ones.
            let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let _ = poll(&mut watched, Some(&wait));
            let now = Instant::now();
            held.retain_mut(|(remainder, until)| !advance(remainder) && *until > now);
        }
    }
}

/// Sends what the socket takes now; whether nothing is left to do.
fn advance(remainder: &mut Remainder) -> bool {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    while !remainder.octets.is_empty() {
        match send(&remainder.socket, &remainder.octets, flags) {
            Ok(sent) => drop(remainder.octets.drain(..sent)),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => return false,
            Err(_) => return true,
        }
    }
    let _ = shutdown(remainder.socket.as_fd(), Shutdown::Write);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    #[test]
    fn what_is_left_arrives_however_slowly_it_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        let octets: Vec<u8> = (0..20_000_000_u32).map(|n| (n >> 7) as u8).collect();
        let linger = Arc::new(Linger::default());
        linger.take(Remainder { socket: sender.into(), octets: octets.clone() });
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).unwrap();
        assert!(received == octets);
    }
}
