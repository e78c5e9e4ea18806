//! Echo requests, continued on the host's ping sockets.
//!
//! The kernel gives each such socket an identifier of its own, and lets only the users of certain
//! groups have them (`net.ipv4.ping_group_range`). Where it does not, the guest is told that its
//! request was not let through.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto,
    socket_with,
};
use weft_frame::MacAddr;
use weft_frame::packet::IpVersion;
use weft_gateway::flow::packet::{self, HOPS};
use weft_gateway::flow::{Key, Token};
use weft_gateway::station::Drop as Reason;
use weft_gateway::station::errors::Error;
use weft_gateway::{Duration, Instant};

use super::Turn;
use super::flows::{Flow, Flows, Incoming, Line, target, why};
use super::udp::set_hops;
use crate::sys::fault::keep_faults;

/// How long a flow stays that nothing passes (RFC 5508 REQ-1).
const IDLE: Duration = Duration::from_secs(60);
/// Replies that one flow takes in before others have their turn.
const BUDGET: usize = 64;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Requests with one identifier.
#[derive(Debug)]
pub(super) struct EchoFlow {
    pub(super) socket: OwnedFd,
    pub(super) guest: MacAddr,
    hops: u8,
    heard: Instant,
    sent: u64,
    received: u64,
}

impl EchoFlow {
    pub(super) fn line(&self, key: &Key) -> Line {
        let inside = match key {
            Key::Echo { inside, identifier } => format!("{inside} id {identifier}"),
            Key::Tcp { .. } | Key::Udp { .. } | Key::Door { .. } | Key::Names { .. } => {
                String::new()
            }
        };
        let state = if self.received > 0 { "open" } else { "unanswered" };
        let (sent, received) = (self.sent, self.received);
        Line { protocol: key.protocol(), inside, outside: String::new(), state, sent, received }
    }

    pub(super) fn expires(&self) -> Instant {
        self.heard + IDLE
    }
}

impl Flows {
    pub(super) fn take_echo(
        &mut self,
        incoming: &Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        let Incoming { packet, frame, link, .. } = incoming;
        let message = frame.get(packet.l4..packet.end).ok_or(Reason::Malformed)?;
        let (source, destination) = packet::addresses(packet, frame).ok_or(Reason::Malformed)?;
        let &[kind, _, _, _, high, low, ..] =
            message.first_chunk::<8>().ok_or(Reason::Malformed)?;
        let request = match packet.version {
            IpVersion::V4 => ECHO_REQUEST,
            IpVersion::V6 => ECHO_REQUEST_V6,
        };
        if kind != request {
            return Err(Reason::IcmpType);
        }
        let aim = match target(turn, SocketAddr::new(destination, 0)) {
            Ok(aim) => aim,
            Err(why) => {
                self.refuse(incoming, why, turn);
                return Err(Reason::Prohibited);
            }
        };
        let (hops, _) = self.hops(incoming, turn)?;
        let key = Key::Echo { inside: source, identifier: u16::from_be_bytes([high, low]) };
        let token = match self.table.find(&key) {
            Some(token) => token,
            None => match echo_socket(source) {
                Ok(socket) => self.new_echo(key, socket, link.guest, turn)?,
                Err(errno) => {
                    self.refuse(incoming, why(errno).unwrap_or(Error::Prohibited), turn);
                    return Err(Reason::Outside);
                }
            },
        };
        let Some((_, Flow::Echo(flow))) = self.table.get_mut(token) else {
            return Err(Reason::Outside);
        };
        flow.heard = turn.now;
        if hops != flow.hops && set_hops(&flow.socket, source.is_ipv4(), hops).is_ok() {
            flow.hops = hops;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendto(&flow.socket, message, flags, &aim) {
            Ok(sent) => {
                flow.sent += sent as u64;
                Ok(())
            }
            Err(errno) => {
                if let Some(why) = why(errno) {
                    self.refuse(incoming, why, turn);
                }
                Err(Reason::Outside)
            }
        }
    }

    fn new_echo(
        &mut self,
        key: Key,
        socket: OwnedFd,
        guest: MacAddr,
        turn: &Turn<'_>,
    ) -> Result<Token, Reason> {
        let flow = EchoFlow { socket, guest, hops: HOPS, heard: turn.now, sent: 0, received: 0 };
        let expires = flow.expires();
        let token = self.add(key, Flow::Echo(flow), EventFlags::IN)?;
        self.table.schedule(token, expires);
        Ok(token)
    }

    /// The socket has replies, or an error to tell of.
    pub(super) fn echo_event(&mut self, token: Token, turn: &mut Turn<'_>) {
        let Some((Key::Echo { inside, identifier }, Flow::Echo(flow))) = self.table.get_mut(token)
        else {
            return;
        };
        let (inside, identifier) = (*inside, *identifier);
        let link = turn.gateway.link(flow.guest);
        let at = packet::message_at(inside);
        let reply = if inside.is_ipv4() { ECHO_REPLY } else { ECHO_REPLY_V6 };
        for _ in 0..BUDGET {
            let buffer = turn.outlet.buffer();
            let room = buffer.get_mut(at..).unwrap_or_default();
            let (len, from) = match recvfrom(&flow.socket, &mut *room, RecvFlags::DONTWAIT) {
                Ok((len, _, from)) => (len, from),
                Err(Errno::AGAIN) => return,
                Err(_) => continue,
            };
            let from = from.and_then(|from| SocketAddr::try_from(from).ok());
            let Some(from) = from.filter(|_| len >= 8 && room[0] == reply) else { continue };
            room[4..6].copy_from_slice(&identifier.to_be_bytes());
            flow.heard = turn.now;
            flow.received += len as u64;
            let made = packet::finish_icmp(buffer, &link, from.ip(), inside, HOPS, len);
            if let Some(len) = made {
                turn.outlet.send(len);
            }
        }
        self.ready.push_back(token);
    }
}

fn echo_socket(inside: IpAddr) -> rustix::io::Result<OwnedFd> {
    let (family, protocol) = match inside {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
    // Without it the guest does not hear what becomes of its requests, and all else works.
    let _ = keep_faults(socket.as_fd(), inside.is_ipv4());
    Ok(socket)
}
