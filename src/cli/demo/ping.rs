//! Echo requests by a socket for nothing else, which needs no privilege where the stack's
//! `ping_group_range` has the caller's group. In a sandbox it has.
//!
//! Source: RFC 792; Linux `icmp(7)`.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};
use serde::{Deserialize, Serialize};

/// How many requests are sent, one after the other's answer.
const REQUESTS: u16 = 11;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// An echo request without payload: type 8, code 0. The kernel fills in checksum and identifier.
const REQUEST: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 0];

/// What came back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Answers {
    /// Requests.
    pub(super) sent: u16,
    /// Answers to them.
    pub(super) received: u16,
    /// There and back; 0 without an answer.
    pub(super) median_us: u32,
}

/// Pings a station a few times.
pub(super) fn ping(station: Ipv4Addr) -> io::Result<Answers> {
    let family = AddressFamily::INET;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::ICMP))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    connect(&socket, &SocketAddrV4::new(station, 0))?;
    let mut times = Vec::new();
    for number in 0..REQUESTS {
        let begun = Instant::now();
        send(&socket, &request(number), SendFlags::empty())?;
        let mut answer = [0; 64];
        match recv(&socket, &mut answer, RecvFlags::empty()) {
            Ok((octets, _)) if answers(&answer[..octets], number) => times.push(begun.elapsed()),
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(Answers {
        sent: REQUESTS,
        received: u16::try_from(times.len()).unwrap_or(REQUESTS),
        median_us: u32::try_from(median.as_micros()).unwrap_or(u32::MAX),
    })
}

fn request(number: u16) -> [u8; 8] {
    let mut request = REQUEST;
    request[6..].copy_from_slice(&number.to_be_bytes());
    request
}

/// Whether a message is the echo reply (type 0, code 0) to request `number`.
fn answers(message: &[u8], number: u16) -> bool {
    message.len() >= REQUEST.len()
        && message[..2] == [0, 0]
        && message[6..8] == number.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_echo_reply_of_the_same_number() {
        let cases: [(&[u8], bool); 5] = [
            (&[0, 0, 1, 2, 3, 4, 0, 7], true),
            (&[0, 0, 1, 2, 3, 4, 0, 8], false),
            (&[8, 0, 1, 2, 3, 4, 0, 7], false),
            (&[3, 1, 1, 2, 3, 4, 0, 7], false),
            (&[0, 0, 1, 2, 3, 4, 0], false),
        ];
        for (message, expected) in cases {
            assert_eq!(answers(message, 7), expected, "{message:?}");
        }
        assert_eq!(request(7), [8, 0, 0, 0, 0, 0, 0, 7]);
    }
}
