//! A worker: one thread that reads its ports, decides, and writes to any port.
//!
//! One pass of its loop is a turn: wait for frames, take a bounded number from each port that has
//! some, adopt the newest picture. Nothing is handed to another thread, so a frame never waits for
//! one to wake; one buffer serves every frame, so it stays in the processor's cache.
//!
//! A TAP is registered level-triggered. A turn takes a single frame from it and lets the next wait
//! tell whether there is another, which costs less than a `read` that finds nothing; only a port
//! that was ready in the turn before as well is read on until it is empty or its budget is spent. So
//! a lone frame costs three system calls and a stream of frames two each, and a busy port cannot
//! keep the others waiting.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use arc_swap::Cache;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::process::Pid;
use weft_switch::{DropReason, Instant, PortId};

use super::clock::Clock;
use super::decide::{Path, SLOT};
use super::picture::{Picture, Published};
use crate::port::packet::{Arrival, Packet};
use crate::port::stream::Stream;
use crate::port::{Port, PortKind};
use crate::sys;

/// Frames taken from one port before the next port has its turn.
const BUDGET: usize = 64;
/// Ready ports told of by one wait.
const EVENTS: usize = 64;
/// How long to wait for another worker to let go of a port.
const SHORT_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000 };
/// A look at what is ready, without waiting.
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// The mark of the wake-up descriptor among the events.
const WAKE: u64 = u64::MAX;

/// What the control plane holds of a worker.
#[derive(Debug)]
pub struct Handle {
    wake: Arc<OwnedFd>,
    shown: Arc<Shown>,
    thread: Option<std::thread::JoinHandle<()>>,
    for_bulk: bool,
}

/// What a worker lets the control plane see.
#[derive(Debug, Default)]
struct Shown {
    /// Its thread, as the kernel counts threads; 0 until it runs.
    thread: AtomicI32,
}

/// A worker's own state; lives on its thread.
struct Worker {
    index: usize,
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    shown: Arc<Shown>,
    pictures: Cache<Published, Arc<Picture>>,
    /// The ports this worker reads.
    inlets: HashMap<PortId, Inlet>,
    path: Path,
    buffer: Box<[u8]>,
    clock: Clock,
    /// Streams whose budget ran out before their octets did: no event will tell of the rest.
    unfinished: Vec<PortId>,
    /// Whether a port of ours is still read by another worker.
    awaited: bool,
}

/// A port as its owner sees it.
struct Inlet {
    port: Arc<Port>,
    /// The turn of the last visit.
    visited: u64,
}

impl Handle {
    /// Starts worker `index` on a thread of its own.
    ///
    /// # Errors
    /// When the process is out of descriptors or threads.
    pub fn start(index: usize, published: &Published, clock: Clock) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let shown = Arc::new(Shown::default());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let worker = Worker {
            index,
            epoll,
            wake: Arc::clone(&wake),
            shown: Arc::clone(&shown),
            pictures: Cache::new(Arc::clone(published)),
            inlets: HashMap::new(),
            path: Path::new(index),
            buffer: vec![0; SLOT].into_boxed_slice(),
            clock,
            unfinished: Vec::new(),
            awaited: false,
        };
        let name = format!("worker-{index}");
        let thread = std::thread::Builder::new().name(name).spawn(move || worker.run())?;
        Ok(Self { wake, shown, thread: Some(thread), for_bulk: false })
    }

    /// Makes the worker look for a newer picture, also when no frame comes.
    pub fn wake(&self) {
        // A full eventfd is one that will wake the worker anyway.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }

    /// The processor time that the worker has used, in nanoseconds; `None` where the kernel keeps
    /// no count.
    pub fn busy_ns(&self) -> Option<u64> {
        let thread = self.shown.thread.load(Ordering::Relaxed);
        let counts = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
        counts.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Has the worker scheduled for bulk or for quick answers. A worker that is hardly ever idle
    /// moves a fifth more when what it wakes does not interrupt it; one that is mostly idle answers
    /// sooner when it may interrupt others.
    pub fn schedule(&mut self, for_bulk: bool) {
        let thread = Pid::from_raw(self.shown.thread.load(Ordering::Relaxed));
        if let Some(thread) = thread.filter(|_| for_bulk != self.for_bulk) {
            if let Err(error) = sys::process::prefer_throughput(thread, for_bulk) {
                tracing::debug!(%error, "the scheduler treats a worker like any thread");
            }
            self.for_bulk = for_bulk;
        }
    }

    /// Waits for the thread's end, after the last picture was published.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker panicked");
        }
    }
}

impl Worker {
    fn run(mut self) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.shown.thread.store(thread, Ordering::Relaxed);
        let mut events =
            [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS];
        let mut picture = Arc::clone(self.pictures.load());
        self.adopt(&picture);
        let mut turn = 0;
        while !picture.stop {
            let patience = match (self.unfinished.is_empty(), self.awaited) {
                (false, _) => Some(&NO_WAIT),
                (true, true) => Some(&SHORT_WAIT),
                (true, false) => None,
            };
            let ready = match epoll::wait(&self.epoll, &mut events, patience) {
                Ok(ready) => ready,
                Err(Errno::INTR) => 0,
                Err(errno) => {
                    tracing::error!(worker = self.index, %errno, "waiting for frames failed");
                    return;
                }
            };
            let now = self.clock.now();
            turn += 1;
            for id in std::mem::take(&mut self.unfinished) {
                self.visit(&picture, id, EventFlags::IN, now, turn);
            }
            for event in &events[..ready] {
                match event.data.u64() {
                    WAKE => self.drain_wake(),
                    number => {
                        if let Some(id) = u16::try_from(number).ok().and_then(PortId::new) {
                            self.visit(&picture, id, event.flags, now, turn);
                        }
                    }
                }
            }
            let newest = self.pictures.load();
            if !Arc::ptr_eq(newest, &picture) {
                picture = Arc::clone(newest);
                self.adopt(&picture);
            } else if self.awaited {
                self.adopt(&picture);
            }
        }
    }

    fn drain_wake(&self) {
        let mut count = [0; 8];
        // Nothing to read means that another event carried the news already.
        let _ = rustix::io::read(&*self.wake, &mut count);
    }

    /// Takes up to [`BUDGET`] frames from one port.
    fn visit(&mut self, picture: &Picture, id: PortId, flags: EventFlags, now: Instant, turn: u64) {
        let Some(inlet) = self.inlets.get_mut(&id) else { return };
        let budget = if inlet.visited + 1 >= turn { BUDGET } else { 1 };
        inlet.visited = turn;
        let port = &inlet.port;
        let found = match &port.kind {
            PortKind::Tap(tap) => {
                let buffer = &mut self.buffer;
                read_tap(&mut self.path, picture, port, tap, buffer, budget, now)
            }
            PortKind::Packet(packet) => {
                let buffer = &mut self.buffer;
                read_packet(&mut self.path, picture, port, packet, buffer, budget, now)
            }
            PortKind::Stream(stream) => {
                if flags.contains(EventFlags::OUT) {
                    // A peer that hung up shows in the read below.
                    let _ = stream.flush();
                }
                read_stream(&mut self.path, picture, port, stream, now)
            }
        };
        match found {
            Found::Less => {}
            Found::More => self.unfinished.push(id),
            Found::End => port.mark_gone(),
        }
        if port.is_gone() {
            self.forget(id);
        }
    }

    /// Reads the ports that `picture` has for this worker, and no others.
    fn adopt(&mut self, picture: &Picture) {
        let own = self.index;
        let current = |port: &Arc<Port>| {
            picture.port(port.id).is_some_and(|newest| Arc::ptr_eq(newest, port))
                && picture.reader(port.id) == Some(own)
        };
        let past: Vec<PortId> =
            self.inlets.values().filter(|i| !current(&i.port)).map(|i| i.port.id).collect();
        for id in past {
            self.forget(id);
        }
        self.awaited = false;
        let read_here = |port: &&Arc<Port>| picture.reader(port.id) == Some(own) && !port.is_gone();
        for port in picture.ports().filter(read_here) {
            if self.inlets.contains_key(&port.id) {
                continue;
            }
            // Two readers would put a conversation's frames out of order: the former one first
            // ends its turn.
            if port.claim() {
                self.register(port);
            } else {
                self.awaited = true;
            }
        }
    }

    fn register(&mut self, port: &Arc<Port>) {
        let flags = match &port.kind {
            PortKind::Tap(_) | PortKind::Packet(_) => EventFlags::IN,
            PortKind::Stream(_) => {
                // What a former reader left in the buffer is no event.
                self.unfinished.push(port.id);
                // Edge-triggered: a socket is writable nearly always, and that is no news.
                EventFlags::IN | EventFlags::OUT | EventFlags::ET
            }
        };
        let data = EventData::new_u64(u64::from(port.id.get()));
        if let Err(errno) = epoll::add(&self.epoll, port, data, flags) {
            tracing::error!(port = %port.id, %errno, "a port cannot be watched");
            port.mark_gone();
            port.release();
            return;
        }
        let inlet = Inlet { port: Arc::clone(port), visited: 0 };
        self.inlets.insert(port.id, inlet);
    }

    /// Stops reading a port. Others may hold its descriptor, so closing ours would not do.
    fn forget(&mut self, id: PortId) {
        if let Some(inlet) = self.inlets.remove(&id) {
            let _ = epoll::delete(&self.epoll, &inlet.port);
            inlet.port.release();
        }
    }
}

/// How a visit ended.
enum Found {
    /// The port will tell when there is more, or it is level-triggered.
    Less,
    /// The budget ran out, and no event will tell of the rest.
    More,
    /// The other side has gone, or speaks something else.
    End,
}

/// Takes up to `budget` frames from a TAP.
fn read_tap(
    path: &mut Path,
    picture: &Picture,
    port: &Port,
    tap: &OwnedFd,
    buffer: &mut [u8],
    budget: usize,
    now: Instant,
) -> Found {
    for _ in 0..budget {
        match port.read_tap(tap, buffer) {
            Ok(len) => path.take(picture, port, &buffer[..len], now),
            Err(Errno::AGAIN | Errno::INTR) => break,
            Err(Errno::BADFD | Errno::BADF | Errno::NODEV) => return Found::End,
            // The kernel could not describe the frame to us and has let go of it.
            Err(_) => path.refuse(port, 0, DropReason::BadOffload),
        }
    }
    Found::Less
}

/// Takes up to `budget` frames from an interface of the host's.
fn read_packet(
    path: &mut Path,
    picture: &Picture,
    port: &Port,
    packet: &Packet,
    buffer: &mut [u8],
    budget: usize,
    now: Instant,
) -> Found {
    for _ in 0..budget {
        match packet.receive(buffer) {
            Ok(Arrival::Own(len)) => path.take(picture, port, &buffer[..len], now),
            Ok(Arrival::Foreign(len)) => path.refuse(port, len, DropReason::Stranger),
            Ok(Arrival::Giant(len)) => path.refuse(port, len, DropReason::Giant),
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                // An interface that is down may come up again, and whether it is still there is
                // looked at elsewhere.
                Some(Errno::AGAIN | Errno::INTR | Errno::NETDOWN) => break,
                // The kernel could not describe the frame to us and has let go of it.
                Some(Errno::INVAL) => path.refuse(port, 0, DropReason::BadOffload),
                _ => return Found::End,
            },
        }
    }
    Found::Less
}

/// Takes up to [`BUDGET`] frames from a stream.
fn read_stream(
    path: &mut Path,
    picture: &Picture,
    port: &Port,
    stream: &Stream,
    now: Instant,
) -> Found {
    let mut inbox = stream.inbox();
    let mut taken = 0;
    loop {
        while taken < BUDGET {
            match inbox.next_packet() {
                Ok(Some(packet)) => path.take(picture, port, packet, now),
                Ok(None) => break,
                Err(_) => return Found::End,
            }
            taken += 1;
        }
        if taken == BUDGET {
            return Found::More;
        }
        match inbox.fill(stream) {
            Ok(1..) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Found::Less,
            Ok(0) | Err(_) => return Found::End,
        }
    }
}
