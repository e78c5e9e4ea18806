//! The appliance's end of a life line: one task for each sandbox.
//!
//! The task reads what the sandbox says, writes what the control plane has for it, and keeps its
//! hosts file current. When the connection ends, the sandbox is dismissed; that is the only way a
//! sandbox goes.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Control;
use super::failure::Rejected;
use super::hosts::Edition;
use crate::api::lifeline::{Inbox, encode};
use crate::api::shapes::{AttachRequest, Failure, FromAppliance, FromSandbox};
use crate::cnm::Id;

/// Messages that may wait for a sandbox: more than it can be told to join and leave at once.
const OUTBOX: usize = 64;
/// How long names are gathered before neighbours are told: sandboxes that start together cost each
/// of them a handful of messages, not one for each of the others.
const GATHER: Duration = Duration::from_millis(20);
/// For each so many sandboxes it is longer by as much again, as there are more to tell.
const CROWD: usize = 50;
/// But never longer than this.
const GATHER_MOST: Duration = Duration::from_secs(1);
/// How long a sandbox may take to say who it is, to finish what it began to say, and to hear what
/// it is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one life line until it ends.
pub async fn serve(control: Control, socket: UnixStream) {
    let (outbox, waiting) = mpsc::channel(OUTBOX);
    let mut line = Line::new(socket, PATIENCE);
    let introduced = timeout(PATIENCE, line.introduction()).await;
    let request = match introduced {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => return line.refuse(&Rejected::new(400, error.to_string())).await,
    };
    if let Some(most) = control.asks_long(&request) {
        // One that has gone is found out about later.
        let _ = line.send(&FromAppliance::Wait { seconds: most.as_secs() }).await;
    }
    match control.admit(request, outbox).await {
        Ok((sandbox, name, endpoints)) => {
            let guard = Dismissal { control: control.clone(), sandbox };
            let on_demand = control.settings().on_demand;
            let answer = FromAppliance::Assigned { sandbox, name, endpoints, on_demand };
            let served = line.attend(&control, sandbox, &answer, waiting).await;
            // Before the connection is closed, which tells the peer that its place is free.
            control.dismiss(sandbox).await;
            drop(guard);
            if let Err(error) = served {
                tracing::debug!(%error, sandbox = %sandbox.short(), "a life line broke");
            }
        }
        Err(rejected) => line.refuse(&rejected).await,
    }
}

/// Dismisses a sandbox however its task ends.
struct Dismissal {
    control: Control,
    sandbox: Id,
}

impl Drop for Dismissal {
    fn drop(&mut self) {
        let (control, sandbox) = (self.control.clone(), self.sandbox);
        tokio::spawn(async move { control.dismiss(sandbox).await });
    }
}

fn gather(sandboxes: usize) -> Duration {
    let crowds = u32::try_from(sandboxes / CROWD).unwrap_or(u32::MAX);
    GATHER.saturating_mul(crowds.saturating_add(1)).min(GATHER_MOST)
}

struct Line {
    socket: UnixStream,
    inbox: Inbox,
    /// How long the peer may take to finish a message, or to make room for one.
    patience: Duration,
    /// When the rest of a message that has begun must be there.
    finish_by: Option<Instant>,
}

impl Line {
    fn new(socket: UnixStream, patience: Duration) -> Self {
        Self { socket, inbox: Inbox::default(), patience, finish_by: None }
    }

    async fn introduction(&mut self) -> io::Result<Option<AttachRequest>> {
        match self.next().await? {
            Some(FromSandbox::Attach(request)) => Ok(Some(request)),
            Some(
                FromSandbox::Port { .. }
                | FromSandbox::Running { .. }
                | FromSandbox::Unconnected { .. }
                | FromSandbox::Disconnected { .. },
            ) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the first message must be attach"))
            }
            None => Ok(None),
        }
    }

    async fn attend(
        &mut self,
        control: &Control,
        sandbox: Id,
        answer: &FromAppliance,
        mut waiting: mpsc::Receiver<FromAppliance>,
    ) -> io::Result<()> {
        self.send(answer).await?;
        let mut membership = control.membership();
        membership.mark_unchanged();
        let mut edition = Edition::default();
        if let Some(hosts) = control.hosts(sandbox, &mut edition) {
            self.send_octets(&hosts).await?;
        }
        control.membership_changed();
        let mut tell_at: Option<Instant> = None;
        loop {
            let tell = sleep_until(tell_at.unwrap_or_else(Instant::now));
            tokio::select! {
                said = self.next() => match said? {
                    Some(message) => self.answer(control, sandbox, message).await?,
                    None => return Ok(()),
                },
                message = waiting.recv() => match message {
                    Some(message) => self.send(&message).await?,
                    // The control plane removed the sandbox itself.
                    None => return Ok(()),
                },
                changed = membership.changed(), if tell_at.is_none() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    tell_at = Some(Instant::now() + gather(control.sandbox_count()));
                }
                () = tell, if tell_at.is_some() => {
                    tell_at = None;
                    membership.mark_unchanged();
                    if let Some(hosts) = control.hosts(sandbox, &mut edition) {
                        self.send_octets(&hosts).await?;
                    }
                }
            }
        }
    }

    async fn answer(
        &mut self,
        control: &Control,
        sandbox: Id,
        message: FromSandbox,
    ) -> io::Result<()> {
        let refusal = match message {
            FromSandbox::Port { endpoint } => {
                let descriptor = if self.inbox.descriptors.is_empty() {
                    Err(Rejected::new(400, "no descriptor came with the port"))
                } else {
                    Ok(self.inbox.descriptors.remove(0))
                };
                match descriptor.and_then(|port| control.connect(sandbox, endpoint, port)) {
                    Ok(()) => return self.send(&FromAppliance::Attached { endpoint }).await,
                    // It left while it was on its way in.
                    Err(rejected) if rejected.status == 404 => {
                        return self.send(&FromAppliance::Disconnect { endpoint }).await;
                    }
                    Err(rejected) => rejected,
                }
            }
            FromSandbox::Running { pid } => {
                control.running(sandbox, pid);
                return Ok(());
            }
            FromSandbox::Unconnected { endpoint, failure } => {
                control.unconnected(sandbox, endpoint, failure).await;
                return Ok(());
            }
            FromSandbox::Disconnected { endpoint } => {
                control.disconnected(sandbox, endpoint);
                return Ok(());
            }
            FromSandbox::Attach(_) => Rejected::new(400, "the sandbox is attached already"),
        };
        self.refuse(&refusal).await;
        Err(io::Error::other(refusal.failure.message))
    }

    async fn refuse(&mut self, rejected: &Rejected) {
        let failure: Failure = rejected.failure.clone();
        // A peer that is gone does not want to know.
        let _ = self.send(&FromAppliance::Refused(failure)).await;
    }

    async fn next(&mut self) -> io::Result<Option<FromSandbox>> {
        loop {
            if let Some(message) = self.inbox.take()? {
                self.finish_by = None;
                return Ok(Some(message));
            }
            match self.receive().await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for more of a message; false when the peer is gone.
    async fn receive(&mut self) -> io::Result<bool> {
        let (socket, inbox) = (&self.socket, &mut self.inbox);
        let has_begun = inbox.has_begun();
        let received = socket.async_io(Interest::READABLE, || inbox.receive(socket.as_fd()));
        if !has_begun {
            self.finish_by = None;
            return received.await;
        }
        // Kept in the line: whoever waits here is called away whenever there is something to tell.
        let finish_by = *self.finish_by.get_or_insert_with(|| Instant::now() + self.patience);
        timeout_at(finish_by, received).await?
    }

    async fn send(&mut self, message: &FromAppliance) -> io::Result<()> {
        self.send_octets(&encode(message)?).await
    }

    async fn send_octets(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let give_up_at = Instant::now() + self.patience;
        while !rest.is_empty() {
            timeout_at(give_up_at, self.socket.writable()).await??;
            match self.socket.try_write(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
