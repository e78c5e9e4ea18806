//! Questions about names, asked of the host's resolvers.
//!
//! A question to the gateway goes to the host's first resolver; when the guest asks the same again,
//! to the next one. The answer comes from the gateway. The flow ends with the last answer it waits
//! for.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, recv, send};
use weft_frame::MacAddr;
use weft_gateway::flow::packet::{self, HOPS, Link};
use weft_gateway::flow::{Key, Token};
use weft_gateway::{Duration, Instant};
use weft_switch::DropReason;

use super::Turn;
use super::flows::{Flow, Flows, Incoming, Line};
use super::udp::datagram_socket;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Questions from one socket of the guest's.
#[derive(Debug)]
pub(super) struct NamesFlow {
    pub(super) socket: OwnedFd,
    guest: MacAddr,
    /// The gateway's address that was asked.
    asked: SocketAddr,
    resolver: SocketAddr,
    /// Questions without an answer.
    waiting: u32,
    heard: Instant,
    sent: u64,
    received: u64,
}

impl NamesFlow {
    pub(super) fn line(&self, key: &Key) -> Line {
        let inside = match key {
            Key::Names { inside } => inside.to_string(),
            Key::Tcp { .. } | Key::Udp { .. } | Key::Echo { .. } => String::new(),
        };
        Line {
            protocol: key.protocol(),
            inside,
            outside: self.resolver.to_string(),
            state: if self.waiting > 0 { "waiting" } else { "open" },
            sent: self.sent,
            received: self.received,
        }
    }

    pub(super) fn expires(&self) -> Instant {
        self.heard + PATIENCE
    }
}

impl Flows {
    pub(super) fn take_question(
        &mut self,
        inside: SocketAddr,
        asked: SocketAddr,
        incoming: &Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let key = Key::Names { inside };
        let resolvers = turn.gateway.outside.resolvers();
        let mut next = resolvers.first().copied().ok_or(DropReason::Outside)?;
        if let Some(token) = self.table.find(&key)
            && let Some((_, Flow::Names(flow))) = self.table.get_mut(token)
            && flow.waiting > 0
        {
            // Whoever asks again has not been answered.
            let tried = resolvers.iter().position(|resolver| *resolver == flow.resolver);
            let after = tried.map_or(0, |place| (place + 1) % resolvers.len());
            next = resolvers.get(after).copied().unwrap_or(next);
        }
        let family = if next.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = datagram_socket(family).map_err(|_| DropReason::Outside)?;
        rustix::net::connect(&socket, &next).map_err(|_| DropReason::Outside)?;
        let Incoming { packet, frame, link, .. } = incoming;
        let question = frame.get(packet.payload..packet.end).unwrap_or_default();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = send(&socket, question, flags).map_err(|_| DropReason::Outside)? as u64;
        let flow = NamesFlow {
            socket,
            guest: link.guest,
            asked,
            resolver: next,
            waiting: 1,
            heard: turn.now,
            sent,
            received: 0,
        };
        let expires = flow.expires();
        let token = self.add(key, Flow::Names(flow), EventFlags::IN)?;
        self.table.schedule(token, expires);
        Ok(())
    }

    /// The resolver has answered, or is not there.
    pub(super) fn names_event(&mut self, token: Token, turn: &mut Turn<'_>) {
        let Some((Key::Names { inside }, Flow::Names(flow))) = self.table.get_mut(token) else {
            return;
        };
        let inside = *inside;
        let (gateway, mtu) = (turn.gateway.mac, turn.gateway.mtu);
        let link = Link { guest: flow.guest, gateway, mtu };
        let at = packet::payload_at(inside.ip());
        while flow.waiting > 0 {
            let buffer = turn.outlet.buffer();
            let room = buffer.get_mut(at..).unwrap_or_default();
            let len = match recv(&flow.socket, room, RecvFlags::DONTWAIT) {
                Ok((len, _)) => len,
                Err(Errno::AGAIN) => return,
                Err(_) => break,
            };
            flow.waiting -= 1;
            if let Some(len) = packet::finish_udp(buffer, &link, flow.asked, inside, HOPS, len) {
                turn.outlet.send(len);
            }
        }
        self.remove(token);
    }
}
