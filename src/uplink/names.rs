//! Questions about names: answered from what the appliance knows, or asked of the host's resolvers.
//!
//! A question that is not about weft's own names goes to the host's first resolver, under a random
//! identifier and from a socket of its own; when the guest asks the same again, to the next one. The
//! flow ends with the answer.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, recv, send};
use weft_gateway::flow::{Key, Token};
use weft_gateway::station::dns::{Asked, Decision, Names, Pending, Transport};
use weft_gateway::station::{Drop as Reason, Return};
use weft_gateway::{Duration, Instant};

use super::Turn;
use super::flows::{Flow, Flows, Incoming, Line};
use super::udp::datagram_socket;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer that a resolver gives by UDP.
const MAX_ANSWER: usize = 4096;

/// One question.
#[derive(Debug)]
pub(super) struct NamesFlow {
    pub(super) socket: OwnedFd,
    pub(super) back: Return,
    pending: Pending,
    resolver: SocketAddr,
    asked: Instant,
}

impl NamesFlow {
    pub(super) fn line(&self, key: &Key) -> Line {
        let inside = match key {
            Key::Names { inside, .. } => inside.to_string(),
            Key::Tcp { .. } | Key::Udp { .. } | Key::Door { .. } | Key::Echo { .. } => {
                String::new()
            }
        };
        Line {
            protocol: key.protocol(),
            inside,
            outside: self.resolver.to_string(),
            state: "waiting",
            sent: self.pending.query().len() as u64,
            received: 0,
        }
    }

    pub(super) fn expires(&self) -> Instant {
        self.asked + PATIENCE
    }
}

impl Flows {
    pub(super) fn take_question(
        &mut self,
        incoming: &Incoming<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        let Incoming { packet, frame, .. } = incoming;
        let (inside, _) = incoming.endpoints()?;
        let back = Return::of(frame, packet).ok_or(Reason::Malformed)?;
        let message = frame.get(packet.payload..packet.end).unwrap_or_default();
        let random = self.outside.random();
        let gateway = turn.gateway;
        let transport = Transport::Udp { room: back.room(&gateway.station) };
        let asked = Asked { message, transport, id: random as u16, turn: (random >> 32) as u32 };
        let names: Vec<_> = turn.who.neighbours.iter().map(|names| names.load()).collect();
        let names: Vec<&Names> = names.iter().map(|names| &***names).collect();
        match gateway.resolver.decide(&asked, &names) {
            Decision::Drop(reason) => Err(reason),
            Decision::Answer(answer) => {
                self.answer(&back, &answer, turn);
                Ok(())
            }
            Decision::Forward(pending) if gateway.policy.internal => {
                self.answer(&back, &pending.failure(), turn);
                Err(Reason::Prohibited)
            }
            Decision::Forward(pending) => {
                let id = message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
                self.ask(Key::Names { inside, id }, back, pending, turn)
            }
        }
    }

    /// Asks the host's resolvers.
    fn ask(
        &mut self,
        key: Key,
        back: Return,
        pending: Pending,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        let resolvers = self.outside.resolvers();
        let mut next = resolvers.first().copied().ok_or(Reason::Outside)?;
        if let Some(token) = self.table.find(&key)
            && let Some((_, Flow::Names(flow))) = self.table.get_mut(token)
        {
            // Whoever asks again has not been answered.
            let tried = resolvers.iter().position(|resolver| *resolver == flow.resolver);
            let after = tried.map_or(0, |place| (place + 1) % resolvers.len());
            next = resolvers.get(after).copied().unwrap_or(next);
        }
        let family = if next.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = datagram_socket(family).and_then(|socket| {
            rustix::net::connect(&socket, &next)?;
            send(&socket, pending.query(), flags)?;
            Ok(socket)
        });
        let Ok(socket) = sent else {
            self.answer(&back, &pending.failure(), turn);
            return Err(Reason::Outside);
        };
        let flow = NamesFlow { socket, back, pending, resolver: next, asked: turn.now };
        let expires = flow.expires();
        let token = self.add(key, Flow::Names(flow), EventFlags::IN)?;
        self.table.schedule(token, expires);
        Ok(())
    }

    /// The resolver has answered, or is not there.
    pub(super) fn names_event(&mut self, token: Token, turn: &mut Turn<'_>) {
        let Some((_, Flow::Names(flow))) = self.table.get_mut(token) else { return };
        let mut answer = [0; MAX_ANSWER];
        let answer = loop {
            match recv(&flow.socket, &mut answer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => {
                    // Somebody else's answer is not the one that is waited for.
                    if let Ok(answer) = flow.pending.answer(&answer[..len]) {
                        break answer;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(_) => break flow.pending.failure(),
            }
        };
        if let Some(Flow::Names(flow)) = self.remove(token) {
            self.answer(&flow.back, &answer, turn);
        }
    }

    fn answer(&mut self, back: &Return, answer: &[u8], turn: &mut Turn<'_>) {
        self.said.clear();
        if back.write(&turn.gateway.station, answer, &mut self.said) {
            turn.say(&self.said);
        }
    }
}
