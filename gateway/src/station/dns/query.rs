//! One query, read and judged; and the frame of every answer.

use alloc::vec::Vec;

use domain::base::iana::{Class, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{AnswerBuilder, PushError};
use domain::base::name::{ParsedName, ToLabelIter};
use domain::base::opt::OptRecord;
use domain::base::{Message, MessageBuilder, StaticCompressor, ToName};

use super::{MAX_QUERY, PLAIN_SIZE};
use crate::station::Drop;

/// The octets of a message's header.
pub(super) const HEADER_LEN: usize = 12;

/// The longest datagram that the gateway takes itself.
const OWN_SIZE: u16 = MAX_QUERY as u16;

/// What a message is composed in.
pub(super) type Target = StaticCompressor<Vec<u8>>;

/// A query with one question, whole.
pub(super) struct Query<'a> {
    pub(super) message: &'a Message<[u8]>,
    pub(super) name: ParsedName<&'a [u8]>,
    /// The name as labels in lower case, the root's at the end.
    pub(super) key: Vec<u8>,
    pub(super) rtype: Rtype,
    pub(super) edns: Option<Edns>,
    /// Where the question ends.
    pub(super) question_end: usize,
}

/// What a client says of itself in an OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edns {
    pub(super) size: u16,
    pub(super) version: u8,
    pub(super) wants_signatures: bool,
}

/// Why a query gets no answer to its question.
pub(super) enum Bad {
    /// Nothing is said.
    Drop(Drop),
    /// This is said.
    Refuse(OptRcode),
}

impl<'a> Query<'a> {
    /// Reads a message as far as it can be answered.
    pub(super) fn read(octets: &'a [u8]) -> Result<Self, Bad> {
        let message = Message::from_slice(octets).map_err(|_| Bad::Drop(Drop::DnsMalformed))?;
        let header = message.header();
        if header.qr() {
            return Err(Bad::Drop(Drop::DnsResponse));
        }
        if header.opcode() != domain::base::iana::Opcode::QUERY {
            return Err(Bad::Refuse(OptRcode::NOTIMP));
        }
        let malformed = || Bad::Refuse(OptRcode::FORMERR);
        let counts = message.header_counts();
        if octets.len() > MAX_QUERY || counts.qdcount() != 1 {
            return Err(malformed());
        }
        let mut section = message.question();
        let question = section.next().and_then(Result::ok).ok_or_else(malformed)?;
        let question_end = section.pos();
        let (rtype, class) = (question.qtype(), question.qclass());
        let name = *question.qname();
        // A pointer in the first name of a message can only point at the header.
        if name.is_compressed() {
            return Err(malformed());
        }
        if rtype == Rtype::AXFR || rtype == Rtype::IXFR || class != Class::IN {
            return Err(Bad::Refuse(OptRcode::REFUSED));
        }
        if counts.ancount() != 0 || counts.nscount() != 0 {
            return Err(malformed());
        }
        let edns = edns(message).ok_or_else(malformed)?;
        if edns.is_some_and(|edns| edns.version != 0) {
            return Err(Bad::Refuse(OptRcode::BADVERS));
        }
        let mut key = Vec::with_capacity(name.compose_len().into());
        // A vector takes everything.
        let _ = name.compose_canonical(&mut key);
        Ok(Self { message, name, key, rtype, edns, question_end })
    }

    /// How long an answer by UDP may be, where `room` fits the link.
    pub(super) fn limit(&self, room: usize) -> usize {
        let size = self.edns.map_or(PLAIN_SIZE, |edns| usize::from(edns.size).max(PLAIN_SIZE));
        size.min(room)
    }

    /// Composes an answer of at most `limit` octets; what does not fit is cut off and that said.
    ///
    /// `None` if not even the question fits.
    pub(super) fn answer(
        &self,
        rcode: Rcode,
        limit: usize,
        fill: impl FnOnce(&mut AnswerBuilder<Target>) -> Result<(), PushError>,
    ) -> Option<Vec<u8>> {
        let mut builder = MessageBuilder::from_target(Target::new(Vec::new())).ok()?;
        // The OPT record of 11 octets comes last and always fits. What is pushed stays below the
        // builder's limit, which is therefore one more.
        let opt_len = if self.edns.is_some() { 11 } else { 0 };
        builder.set_push_limit(limit.checked_sub(opt_len)? + 1);
        let mut answer = builder.start_answer(self.message, rcode).ok()?;
        let header = self.message.header();
        answer.header_mut().set_ra(true);
        answer.header_mut().set_aa(true);
        answer.header_mut().set_cd(header.cd());
        if fill(&mut answer).is_err() {
            answer.header_mut().set_tc(true);
        }
        answer.clear_push_limit();
        finish(answer, self.edns, OptRcode::from_rcode(rcode))
    }
}

/// The client's OPT record; `None` if the additional section is malformed, or has two of them.
fn edns(message: &Message<[u8]>) -> Option<Option<Edns>> {
    let mut section = message.additional().ok()?;
    let mut found = None;
    for record in section.by_ref() {
        let record = record.ok()?;
        if record.rtype() != Rtype::OPT {
            continue;
        }
        if found.is_some() || !record.owner().is_root() {
            return None;
        }
        let record = record.into_record::<domain::base::opt::Opt<_>>().ok()??;
        let record = OptRecord::from(record);
        found = Some(Edns {
            size: record.udp_payload_size(),
            version: record.version(),
            wants_signatures: record.dnssec_ok(),
        });
    }
    (section.pos() == message.as_slice().len()).then_some(found)
}

/// Answers a message that cannot be answered otherwise with a reason alone.
pub(super) fn refuse(octets: &[u8], rcode: OptRcode) -> Option<Vec<u8>> {
    let message = Message::from_slice(octets).ok()?;
    let edns = edns(message).flatten();
    let builder = MessageBuilder::from_target(Target::new(Vec::new())).ok()?;
    let is_whole = message.header_counts().qdcount() == 1 && rcode != OptRcode::FORMERR;
    let mut answer = if is_whole {
        builder.start_answer(message, rcode.rcode()).ok()?
    } else {
        let mut answer = builder.answer();
        let header = answer.header_mut();
        header.set_id(message.header().id());
        header.set_qr(true);
        header.set_opcode(message.header().opcode());
        header.set_rd(message.header().rd());
        header.set_rcode(rcode.rcode());
        answer
    };
    answer.header_mut().set_ra(true);
    finish(answer, edns, rcode)
}

/// Adds the OPT record, for a client that sent one.
fn finish(answer: AnswerBuilder<Target>, edns: Option<Edns>, rcode: OptRcode) -> Option<Vec<u8>> {
    let mut additional = answer.additional();
    if let Some(edns) = edns {
        additional
            .opt(|opt| {
                opt.set_udp_payload_size(OWN_SIZE);
                opt.set_dnssec_ok(edns.wants_signatures);
                opt.set_rcode(rcode);
                Ok(())
            })
            .ok()?;
    }
    Some(additional.finish().into_target())
}
