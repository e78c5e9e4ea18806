//! A TCP transfer that counts what arrived, not what was handed to a socket's buffer.
//!
//! The sender writes for a second and shuts down; the sink answers with the number of octets it
//! has read. The clock stops at that answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long is sent.
const SPAN: Duration = Duration::from_secs(1);
/// How long the other side may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is handed to the kernel at once, in octets; as iperf3 does.
const BLOCK: usize = 128 << 10;

/// A transfer that came to its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Transfer {
    /// Octets that arrived.
    pub(super) octets: u64,
    /// From the first write to the sink's answer.
    pub(super) micros: u64,
}

impl Transfer {
    /// The rate of the payload.
    pub(super) fn gigabits_per_second(&self) -> f64 {
        self.octets as f64 * 8.0 / (self.micros.max(1) as f64 * 1000.0)
    }
}

/// Sends to a sink for a second.
pub(super) fn send(sink: SocketAddr) -> io::Result<Transfer> {
    let mut stream = TcpStream::connect_timeout(&sink, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let block = vec![0x5a; BLOCK];
    let mut sent = 0;
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        stream.write_all(&block)?;
        sent += block.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    let elapsed = begun.elapsed();
    let octets = u64::from_be_bytes(answer);
    if octets != sent {
        return Err(io::Error::other(format!("{octets} of {sent} octets arrived")));
    }
    Ok(Transfer { octets, micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX) })
}

/// Reads until the sender has ended, and tells it how many octets there were.
pub(super) fn take(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut block = vec![0; BLOCK];
    let mut taken = 0;
    loop {
        match stream.read(&mut block)? {
            0 => return stream.write_all(&u64::to_be_bytes(taken)),
            octets => taken += octets as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_in_bits_and_decimal() {
        let transfer = Transfer { octets: 1_250_000_000, micros: 1_000_000 };
        assert!((transfer.gigabits_per_second() - 10.0).abs() < 1e-9);
    }
}
