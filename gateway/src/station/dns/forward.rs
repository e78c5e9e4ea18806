//! A query that somebody else is asked, until the answer comes.
//!
//! The query goes out as it came, but under another identifier; from which port is the caller's
//! part. The answer comes back as it is, under the client's identifier and with the name as the
//! client spelled it, or is cut to what the client takes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use domain::base::Message;
use domain::base::iana::{OptRcode, Rcode};

use super::query::{HEADER_LEN, Query, refuse};

/// Why a message is not the answer that is waited for (RFC 5452 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is too short, or a query.
    #[error("the message is no response")]
    NoResponse,
    /// Its identifier is another.
    #[error("the response's identifier is not the query's")]
    Identifier,
    /// Its question is another.
    #[error("the response's question is not the query's")]
    Question,
}

/// A query that was sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    query: Box<[u8]>,
    client_id: u16,
    question_end: usize,
    limit: usize,
}

impl Pending {
    pub(super) fn new(query: &Query<'_>, id: u16, limit: usize) -> Self {
        let mut octets: Box<[u8]> = query.message.as_slice().into();
        set_id(&mut octets, id);
        let client_id = query.message.header().id();
        Self { query: octets, client_id, question_end: query.question_end, limit }
    }

    /// What to send.
    #[must_use]
    pub const fn query(&self) -> &[u8] {
        &self.query
    }

    /// The identifier under which it is sent.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.query.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
    }

    /// Turns the answer into the client's.
    ///
    /// An answer that is cut off says so, and the client asks again by TCP.
    ///
    /// # Errors
    /// [`Mismatch`] if it is not the answer to this query: wait on.
    pub fn answer(&self, answer: &[u8]) -> Result<Vec<u8>, Mismatch> {
        let message = Message::from_slice(answer).map_err(|_| Mismatch::NoResponse)?;
        let header = message.header();
        if !header.qr() || header.opcode() != self.opcode() {
            return Err(Mismatch::NoResponse);
        }
        if header.id() != self.id() {
            return Err(Mismatch::Identifier);
        }
        let counts = message.header_counts();
        // A server that does not understand the query may leave out the question.
        if counts.qdcount() == 0 && header.rcode() != Rcode::NOERROR {
            return Ok(self.fail(OptRcode::from_rcode(header.rcode())));
        }
        let question = self.question();
        let range = HEADER_LEN..self.question_end;
        let same = answer.get(range.clone()).is_some_and(|of| is_same_question(of, question));
        if counts.qdcount() != 1 || !same {
            return Err(Mismatch::Question);
        }
        if answer.len() > self.limit {
            return Ok(self.cut(message));
        }
        let mut octets = Vec::from(answer);
        set_id(&mut octets, self.client_id);
        if let Some(echoed) = octets.get_mut(range) {
            echoed.copy_from_slice(question);
        }
        Ok(octets)
    }

    /// The answer when nobody gave one: the servers failed.
    #[must_use]
    pub fn failure(&self) -> Vec<u8> {
        self.fail(OptRcode::SERVFAIL)
    }

    fn fail(&self, rcode: OptRcode) -> Vec<u8> {
        // The query was read whole before, so an answer can be made of it.
        let mut octets = refuse(&self.query, rcode).unwrap_or_default();
        set_id(&mut octets, self.client_id);
        octets
    }

    /// The answer without its records.
    fn cut(&self, answer: &Message<[u8]>) -> Vec<u8> {
        let header = answer.header();
        let mut octets = self.fail(OptRcode::from_rcode(header.rcode()));
        if let Ok(message) = Message::try_from_octets(&mut octets[..]) {
            let mut message = message;
            let cut = message.header_mut();
            cut.set_tc(true);
            cut.set_aa(header.aa());
            cut.set_ad(header.ad());
            cut.set_cd(header.cd());
        }
        octets
    }

    fn question(&self) -> &[u8] {
        self.query.get(HEADER_LEN..self.question_end).unwrap_or_default()
    }

    fn opcode(&self) -> domain::base::iana::Opcode {
        domain::base::iana::Opcode::QUERY
    }
}

/// Whether two questions are the same but for the case of their names.
///
/// Lengths of labels are below 64 and compare as they are; so does what follows the name.
fn is_same_question(one: &[u8], other: &[u8]) -> bool {
    let Some(at) = one.len().checked_sub(4).filter(|_| one.len() == other.len()) else {
        return false;
    };
    let ((name, kind), (other_name, other_kind)) = (one.split_at(at), other.split_at(at));
    name.eq_ignore_ascii_case(other_name) && kind == other_kind
}

fn set_id(octets: &mut [u8], id: u16) {
    if let Some(field) = octets.first_chunk_mut() {
        *field = id.to_be_bytes();
    }
}
