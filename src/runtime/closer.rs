//! Letting go of ports, away from everything that must not wait.
//!
//! Closing the last descriptor of a TAP makes the kernel take the device apart, which takes tens of
//! milliseconds under a lock that all of the host's network configuration shares. A worker that did
//! it would stop every conversation for that long. So the control plane keeps a removed port until
//! no worker holds it, and a thread of its own closes it. Only then are its counters final: the
//! thread adds them to those of its network's past ports.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::port::Port;
use crate::port::counters::Totals;

/// How often it is looked whether the workers have let go of a port.
const LOOK: Duration = Duration::from_millis(1);

/// The thread that closes ports.
#[derive(Debug)]
pub struct Closer {
    ports: Option<Sender<Removed>>,
    thread: Option<JoinHandle<()>>,
}

/// What was counted at the past ports of a network.
pub type Past = Arc<Mutex<Totals>>;

/// A port on its way out, and where its counters go.
type Removed = (Arc<Port>, Past);

impl Closer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the process is out of threads.
    pub fn start() -> io::Result<Self> {
        let (ports, removed) = channel();
        let thread = std::thread::Builder::new()
            .name("closer".to_owned())
            .spawn(move || close_all(&removed))?;
        Ok(Self { ports: Some(ports), thread: Some(thread) })
    }

    /// Closes a port that the newest picture does not have. What is returned dies when it is closed.
    pub fn close(&self, port: Arc<Port>, past: Past) -> Weak<Port> {
        let closing = Arc::downgrade(&port);
        if let Some(ports) = &self.ports {
            // The thread ends with us and not before; without it the port is closed here.
            let _ = ports.send((port, past));
        }
        closing
    }

    /// Waits until everything is closed. The workers must have ended.
    pub fn finish(&mut self) {
        self.ports = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that closes ports panicked");
        }
    }
}

fn close_all(removed: &Receiver<Removed>) {
    while let Ok((port, past)) = removed.recv() {
        while Arc::strong_count(&port) > 1 {
            std::thread::sleep(LOOK);
        }
        let mut past = past.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *past);
        *past = [before, port.totals()].into_iter().sum();
    }
}
