//! DNS over TCP: two octets of length, then a message, again and again (RFC 1035 §4.2.2, RFC 7766).

use super::MAX_QUERY;

/// What a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// Not yet a whole message: read on.
    More,
    /// A message, and how many octets of the stream it was.
    Message {
        /// The message.
        message: &'a [u8],
        /// How many octets to take from the stream, the length included.
        taken: usize,
    },
    /// A message of a length that is not read: close the connection.
    BadLength(usize),
}

/// Finds the first query in `stream`.
///
/// Whoever keeps `2 + MAX_QUERY` octets of a stream finds every query that is answered.
#[must_use]
pub fn query(stream: &[u8]) -> Next<'_> {
    message(stream, MAX_QUERY)
}

/// Finds the first answer in `stream`, which may have 65 535 octets.
#[must_use]
pub fn answer(stream: &[u8]) -> Next<'_> {
    message(stream, usize::from(u16::MAX))
}

fn message(stream: &[u8], max: usize) -> Next<'_> {
    let Some((length, rest)) = stream.split_first_chunk::<2>() else {
        return Next::More;
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > max {
        return Next::BadLength(length);
    }
    match rest.get(..length) {
        Some(message) => Next::Message { message, taken: 2 + length },
        None => Next::More,
    }
}

/// The two octets that go before `message`; `None` if it is too long for any stream.
#[must_use]
pub fn length(message: &[u8]) -> Option<[u8; 2]> {
    u16::try_from(message.len()).ok().map(u16::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_messages_however_it_arrives() {
        let stream = b"\x00\x03abc\x00\x01d\x00\x00";
        assert_eq!(query(&stream[..1]), Next::More);
        assert_eq!(query(&stream[..4]), Next::More);
        assert_eq!(query(stream), Next::Message { message: b"abc", taken: 5 });
        assert_eq!(query(&stream[5..]), Next::Message { message: b"d", taken: 3 });
        assert_eq!(query(&stream[8..]), Next::BadLength(0));
        assert_eq!(query(b"\x10\x00"), Next::BadLength(4096));
        assert_eq!(answer(b"\x10\x00"), Next::More);
        assert_eq!(length(b"abc"), Some([0, 3]));
        assert_eq!(length(&[0; 65_536]), None);
    }
}
