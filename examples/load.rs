//! Load for `scripts/bench`: floods of small datagrams, and round trips one at a time.
//!
//! ```text
//! load udp-send ADDR SECS     as many 18-octet datagrams as the kernel takes: 60-octet frames
//! load udp-recv PORT SECS     count datagrams, until none came for a while or the time is over
//! load rr-server PORT         echo one TCP connection, then end
//! load rr-client ADDR SECS    64 octets there and back over TCP, again and again
//! ```
//!
//! `ADDR` is an address or a name with a port. Each prints one JSON object, and each ends by itself:
//! whoever waits for the other side gives up after [`PATIENCE`].

use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sockopt};

/// How long to wait for the other side to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a pause may be before it means the end.
const SILENCE: Duration = Duration::from_millis(400);
/// How long connections are made warm before round trips count.
const WARM_UP: Duration = Duration::from_millis(200);
/// With UDP's, IPv4's and Ethernet's headers 60 octets, the shortest frame there is.
const DATAGRAM: [u8; 18] = [0x5a; 18];
/// Datagrams handed over in one system call.
const BATCH: usize = 64;
/// Room for a burst while the receiver waits for its processor.
const RECEIVE_BUFFER: usize = 16 << 20;
const SEND_BUFFER: usize = 4 << 20;
/// What goes there and back.
const MESSAGE: usize = 64;
/// Round trips remembered at most.
const SAMPLES: usize = 4 << 20;
/// The longest run.
const LONGEST_S: f64 = 600.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["udp-send", to, time] => seconds(time).and_then(|time| udp_send(to, time)),
        ["udp-recv", port, time] => seconds(time).and_then(|time| udp_receive(port, time)),
        ["rr-server", port] => serve_round_trips(port),
        ["rr-client", to, time] => seconds(time).and_then(|time| round_trips(to, time)),
        _ => {
            eprintln!(
                "usage: load udp-send|rr-client ADDR SECS | udp-recv PORT SECS | rr-server PORT"
            );
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load {}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

type Answer = Result<String, Box<dyn Error>>;

fn seconds(text: &str) -> Result<Duration, Box<dyn Error>> {
    let time: f64 = text.parse()?;
    if !(0.0..=LONGEST_S).contains(&time) {
        return Err(format!("{time} s is not from 0 to {LONGEST_S}").into());
    }
    Ok(Duration::from_secs_f64(time))
}

fn udp_send(to: &str, time: Duration) -> Answer {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    // Less room than asked for only makes the sender wait for the kernel sooner.
    let _ = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
    let slices = [IoSlice::new(&DATAGRAM)];
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
        std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut batch: Vec<MMsgHdr<'_>> =
        controls.iter_mut().map(|control| MMsgHdr::new(&slices, control)).collect();
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let start = Instant::now();
    while start.elapsed() < time {
        match sendmmsg(&socket, &mut batch, SendFlags::empty()) {
            Ok(count) => sent += count as u64,
            // The port is not open yet, or a queue is full: part of a flood.
            Err(Errno::CONNREFUSED | Errno::NOBUFS | Errno::AGAIN | Errno::INTR) => refused += 1,
            Err(errno) => return Err(errno.into()),
        }
    }
    let took = start.elapsed().as_secs_f64();
    Ok(format!(r#"{{"sent":{sent},"refused":{refused},"secs":{took:.3}}}"#))
}

fn udp_receive(port: &str, time: Duration) -> Answer {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port.parse()?))?;
    // Beyond the system's limit, which takes a privilege; else as far as it goes.
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    }
    let mut datagram = [0; 2048];
    let mut received = 0_u64;
    let begin = Instant::now();
    socket.set_read_timeout(Some(SILENCE))?;
    while begin.elapsed() < time {
        match socket.recv(&mut datagram) {
            Ok(_) => received += 1,
            Err(error) if is_silence(&error) && received == 0 => {}
            Err(error) if is_silence(&error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(format!(r#"{{"received":{received}}}"#))
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn serve_round_trips(port: &str) -> Answer {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.parse()?))?;
    let patience = Timespec::try_from(PATIENCE)?;
    if poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&patience))? == 0 {
        return Err("nobody connected".into());
    }
    let mut stream = listener.accept()?.0;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut message = [0; MESSAGE];
    let mut echoed = 0_u64;
    loop {
        let len = stream.read(&mut message)?;
        if len == 0 {
            return Ok(format!(r#"{{"octets":{echoed}}}"#));
        }
        stream.write_all(&message[..len])?;
        echoed += len as u64;
    }
}

fn round_trips(to: &str, time: Duration) -> Answer {
    let mut stream = connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut message = [0x5a; MESSAGE];
    let mut samples: Vec<u64> = Vec::with_capacity(SAMPLES);
    let start = Instant::now();
    let mut before = start;
    // The last one counts in any case, so that there is something to tell.
    loop {
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        let now = Instant::now();
        let over = now.duration_since(start) >= WARM_UP + time || samples.len() + 1 >= SAMPLES;
        if now.duration_since(start) > WARM_UP || over {
            samples.push(now.duration_since(before).as_nanos() as u64);
        }
        if over {
            break;
        }
        before = now;
    }
    samples.sort_unstable();
    let at = |part: usize| samples[samples.len() * part / 100] as f64 / 1000.0;
    let (count, p50, p99) = (samples.len(), at(50), at(99));
    Ok(format!(r#"{{"count":{count},"p50_us":{p50:.2},"p99_us":{p99:.2}}}"#))
}

/// Connects as soon as somebody listens.
fn connect(to: &str) -> io::Result<TcpStream> {
    let to = to.to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?;
    let start = Instant::now();
    loop {
        match TcpStream::connect_timeout(&to, PATIENCE) {
            Err(error)
                if error.kind() == ErrorKind::ConnectionRefused && start.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}
