//! A sandbox's dealings with the appliance: announced, given addresses, connected, kept.
//!
//! A [`Session`] holds the life line and a copy of every port's descriptor. When the appliance goes
//! away, the TAPs stay up because of those copies; [`Session::next_event`] announces the sandbox to
//! the next appliance with the addresses it has, hands the same descriptors over again, and a TCP
//! connection in flight goes on after a pause. A sandbox that the file declares is started anew by
//! the next appliance, so that it ends with its own.
//!
//! Whoever has a program to attend to is never kept waiting for long: every answer has a time by
//! which it must come, and an appliance that lets it pass counts as gone.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;

use super::on_demand;
use crate::api::client::{Client, ClientError};
use crate::api::lifeline::Lifeline;
use crate::api::shapes::{
    Assigned, AttachRequest, EndpointRequest, Failure, FromAppliance, FromSandbox,
};
use crate::cnm::Id;
use crate::sys::tap;
use patience::{AGAIN, FIRST, connect};

mod membership;
mod patience;

/// How often a sandbox that may start an appliance tries to.
const ATTEMPTS: usize = 4;
/// How long to wait between two looks for a lost appliance.
const RETRY: Duration = Duration::from_millis(100);
/// How long it may become, by doubling, while an appliance is there and does not take it back.
const RETRY_MOST: Duration = Duration::from_secs(5);
/// How long the appliance may take to see a sandbox off.
const PARTING: Duration = Duration::from_secs(1);

/// Why a sandbox has no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The appliance cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// None was running and none could be started.
    #[error(transparent)]
    OnDemand(#[from] on_demand::OnDemandError),
    /// The appliance refused the sandbox, or a port of it.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The appliance went away while it was asked.
    #[error("the appliance went away")]
    Lost,
    /// The connection failed.
    #[error("the connection to the appliance failed")]
    Io(#[from] io::Error),
}

impl SessionError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Refused(failure) => failure.help.clone(),
            Self::Client(error) => error.help(),
            Self::OnDemand(_) | Self::Lost | Self::Io(_) => None,
        }
    }
}

/// What the appliance told a sandbox that is up.
#[derive(Debug)]
pub enum Event {
    /// The neighbours' names, for the hosts file.
    Hosts(String),
    /// The port of the endpoint at this place has gone.
    PortGone(usize),
    /// The sandbox is on one more network; see [`Session::join`].
    Connect(Box<Assigned>),
    /// The endpoint is taken back; see [`Session::leave`].
    Disconnect(Id),
    /// The program is to get this signal.
    Signal(i32),
    /// The appliance is gone. Unless the file declares the sandbox, the next one is looked for.
    Lost,
}

/// A sandbox known to an appliance.
#[derive(Debug)]
pub struct Session {
    client: Client,
    request: AttachRequest,
    lifeline: Option<Lifeline>,
    /// What the appliance said while an answer was awaited.
    aside: VecDeque<FromAppliance>,
    name: String,
    endpoints: Vec<Assigned>,
    /// Copies of the descriptors that the appliance has, by endpoint.
    ports: Vec<Option<OwnedFd>>,
    running: Option<u32>,
    on_demand: bool,
    /// When to look for a lost appliance next.
    retry_at: Option<Instant>,
    /// How long to wait after the next attempt that fails.
    pause: Duration,
}

impl Session {
    /// Announces a sandbox. With `start`, an appliance is started when none runs.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn open(
        client: &Client,
        request: &AttachRequest,
        start: bool,
    ) -> Result<Self, SessionError> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let again = start && attempts.next().is_some();
            match Self::try_open(client, request) {
                Err(SessionError::Client(ClientError::NotRunning(_))) if again => {
                    on_demand::start(client.socket())?;
                }
                // One that is about to end because it was idle takes the call and does not answer.
                Err(
                    SessionError::Lost
                    | SessionError::Io(_)
                    | SessionError::Client(ClientError::Broken(..)),
                ) if again && client.is_stale() => {}
                outcome => return outcome,
            }
        }
    }

    fn try_open(client: &Client, request: &AttachRequest) -> Result<Self, SessionError> {
        let mut session = Self {
            client: client.clone(),
            request: request.clone(),
            lifeline: Some(connect(client, FIRST)?),
            aside: VecDeque::new(),
            name: String::new(),
            endpoints: Vec::new(),
            ports: Vec::new(),
            running: None,
            on_demand: false,
            retry_at: None,
            pause: RETRY,
        };
        session.announce()?;
        session.ports.resize_with(session.endpoints.len(), || None);
        Ok(session)
    }

    /// The sandbox's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its endpoints.
    pub fn endpoints(&self) -> &[Assigned] {
        &self.endpoints
    }

    /// Whether it serves an endpoint of the appliance's file. Then it ends with the appliance: the
    /// next one starts its own.
    pub fn is_declared(&self) -> bool {
        self.request.declared
    }

    /// The life line, to wait for messages; none while the appliance is away.
    pub fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.lifeline.as_ref().map(AsFd::as_fd)
    }

    /// Drops this process's copy of the connection, in a child that must not keep it open.
    pub fn hang_up(self) {}

    /// Says goodbye and waits until the appliance has taken everything back, so that whoever comes
    /// next may have the same name and addresses.
    pub fn part(&mut self) {
        if let Some(lifeline) = self.lifeline.take() {
            lifeline.part(PARTING);
        }
    }

    /// Hands the port of the endpoint at `place` to the appliance and waits until frames pass.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn offer(&mut self, place: usize, port: OwnedFd) -> Result<(), SessionError> {
        self.hand_over(place, port.as_fd())?;
        self.ports[place] = Some(port);
        Ok(())
    }

    /// As [`offer`](Self::offer), but an appliance that goes meanwhile is no failure: the next one
    /// gets the port.
    ///
    /// # Errors
    /// When the appliance refuses the port.
    pub fn entrust(&mut self, place: usize, port: OwnedFd) -> Result<(), SessionError> {
        match self.hand_over(place, port.as_fd()) {
            Ok(()) => {}
            Err(refused @ SessionError::Refused(_)) => return Err(refused),
            Err(error) => {
                tracing::debug!(%error, "the appliance did not take a port");
                self.lose();
            }
        }
        self.ports[place] = Some(port);
        Ok(())
    }

    /// Lets go of a port that has gone.
    pub fn withdraw(&mut self, place: usize) {
        self.ports[place] = None;
    }

    /// Tells the appliance that the sandbox's first process is `pid`.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn running(&mut self, pid: u32) -> Result<(), SessionError> {
        self.running = Some(pid);
        self.send(&FromSandbox::Running { pid }, None)
    }

    /// The neighbours' names, which the appliance tells right after it took the sandbox in.
    pub fn first_hosts(&mut self) -> String {
        loop {
            match self.receive() {
                Ok(FromAppliance::Hosts(text)) => return text,
                Ok(message) => self.aside.push_back(message),
                // The next look at the life line tells that the appliance is gone.
                Err(_) => return String::new(),
            }
        }
    }

    /// How long to wait on the life line before the next [`next_event`](Self::next_event); without
    /// an end unless something is due.
    pub fn patience(&self) -> Option<Duration> {
        if !self.aside.is_empty() || self.lifeline.as_ref().is_some_and(Lifeline::has_message) {
            return Some(Duration::ZERO);
        }
        self.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether the appliance is away.
    pub fn is_lost(&self) -> bool {
        self.lifeline.is_none()
    }

    /// What has happened, when something has. Looks for a lost appliance when that is due; does not
    /// wait for one that is there to say more.
    pub fn next_event(&mut self) -> Option<Event> {
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry();
        }
        loop {
            let message = match self.aside.pop_front() {
                Some(message) => Ok(Some(message)),
                None => self.glance(),
            };
            match message {
                Ok(None) => return None,
                Ok(Some(FromAppliance::Hosts(text))) => return Some(Event::Hosts(text)),
                Ok(Some(FromAppliance::Signal(number))) => return Some(Event::Signal(number)),
                Ok(Some(FromAppliance::Connect(own))) => return Some(Event::Connect(own)),
                Ok(Some(FromAppliance::Disconnect { endpoint })) => {
                    return Some(Event::Disconnect(endpoint));
                }
                Ok(Some(FromAppliance::PortGone { endpoint })) => {
                    if let Some(place) = self.endpoints.iter().position(|e| e.id == endpoint) {
                        return Some(Event::PortGone(place));
                    }
                }
                Ok(Some(
                    FromAppliance::Attached { .. }
                    | FromAppliance::Assigned { .. }
                    | FromAppliance::Wait { .. },
                )) => {}
                Ok(Some(FromAppliance::Refused(_))) | Err(_) => {
                    self.lose();
                    return Some(Event::Lost);
                }
            }
        }
    }

    /// The appliance is gone, or as good as gone.
    fn lose(&mut self) {
        self.lifeline = None;
        self.forget_invitations();
        self.retry_at = (!self.request.declared).then(|| Instant::now() + RETRY);
    }

    /// Forgets networks that only the appliance that is gone has put the sandbox on.
    fn forget_invitations(&mut self) {
        self.aside.retain(|message| !matches!(message, FromAppliance::Connect(_)));
    }

    /// Looks for a new appliance and takes everything there.
    fn retry(&mut self) {
        let pause = if self.forget_vanished() {
            // Whoever keeps the endpoint may not want to go on without.
            RETRY
        } else {
            match self.reconnect() {
                Ok(true) => {
                    self.pause = RETRY;
                    self.retry_at = None;
                    return;
                }
                Ok(false) => {
                    self.pause = RETRY;
                    RETRY
                }
                Err(error) => {
                    tracing::debug!(%error, "the appliance does not take this sandbox back");
                    self.lifeline = None;
                    self.forget_invitations();
                    let pause = self.pause;
                    self.pause = (pause * 2).min(RETRY_MOST);
                    pause
                }
            }
        };
        self.retry_at = Some(Instant::now() + pause);
    }

    /// Forgets the TAPs that were deleted while no appliance was there to notice; whether there
    /// were any.
    fn forget_vanished(&mut self) -> bool {
        let before = self.aside.len();
        for (port, endpoint) in self.ports.iter_mut().zip(&self.endpoints) {
            if port.as_ref().is_some_and(|port| has_vanished(port.as_fd())) {
                *port = None;
                self.aside.push_back(FromAppliance::PortGone { endpoint: endpoint.id });
            }
        }
        self.aside.len() > before
    }

    /// True when the sandbox is back; false when no appliance runs.
    fn reconnect(&mut self) -> Result<bool, SessionError> {
        let lifeline = match connect(&self.client, AGAIN) {
            Err(SessionError::Client(ClientError::NotRunning(_))) if self.on_demand => {
                on_demand::start(self.client.socket())?;
                connect(&self.client, AGAIN)?
            }
            Err(SessionError::Client(ClientError::NotRunning(_))) => return Ok(false),
            outcome => outcome?,
        };
        self.lifeline = Some(lifeline);
        self.restore().map(|()| true)
    }

    fn restore(&mut self) -> Result<(), SessionError> {
        self.announce()?;
        let ports = std::mem::take(&mut self.ports);
        let handed = ports.iter().enumerate().try_for_each(|(place, port)| match port {
            Some(port) => self.hand_over(place, port.as_fd()),
            None => Ok(()),
        });
        self.ports = ports;
        handed?;
        match self.running {
            Some(pid) => self.running(pid),
            None => Ok(()),
        }
    }

    fn announce(&mut self) -> Result<(), SessionError> {
        let request = FromSandbox::Attach(self.request.clone());
        self.send(&request, None)?;
        loop {
            match self.receive()? {
                FromAppliance::Assigned { sandbox, name, endpoints, on_demand } => {
                    self.on_demand = on_demand;
                    self.wait_as_usual()?;
                    self.remember(sandbox, &name, &endpoints);
                    self.name = name;
                    self.endpoints = endpoints;
                    return Ok(());
                }
                FromAppliance::Refused(failure) => return Err(SessionError::Refused(failure)),
                FromAppliance::Wait { seconds } => self.wait_for(Duration::from_secs(seconds))?,
                FromAppliance::Attached { .. } => {}
                message @ (FromAppliance::Hosts(_)
                | FromAppliance::PortGone { .. }
                | FromAppliance::Connect(_)
                | FromAppliance::Disconnect { .. }
                | FromAppliance::Signal(_)) => self.aside.push_back(message),
            }
        }
    }

    /// What was given once is asked for the next time.
    fn remember(&mut self, sandbox: Id, name: &str, endpoints: &[Assigned]) {
        self.request.sandbox = Some(sandbox);
        self.request.name = Some(name.to_owned());
        for (request, assigned) in self.request.endpoints.iter_mut().zip(endpoints) {
            *request = remembered(request, assigned);
        }
    }

    fn hand_over(&mut self, place: usize, port: BorrowedFd<'_>) -> Result<(), SessionError> {
        let endpoint = self.endpoints[place].id;
        self.send(&FromSandbox::Port { endpoint }, Some(port))?;
        loop {
            match self.receive()? {
                FromAppliance::Attached { endpoint: attached } if attached == endpoint => {
                    return Ok(());
                }
                FromAppliance::Refused(failure) => return Err(SessionError::Refused(failure)),
                FromAppliance::Attached { .. }
                | FromAppliance::Assigned { .. }
                | FromAppliance::Wait { .. } => {}
                // It was taken back meanwhile, which is heard of again when this is done.
                message @ FromAppliance::Disconnect { endpoint: gone } if gone == endpoint => {
                    self.aside.push_back(message);
                    return Ok(());
                }
                // Told once only: neighbours that came, a signal, meanwhile.
                message @ (FromAppliance::Hosts(_)
                | FromAppliance::PortGone { .. }
                | FromAppliance::Connect(_)
                | FromAppliance::Disconnect { .. }
                | FromAppliance::Signal(_)) => self.aside.push_back(message),
            }
        }
    }

    fn send(
        &mut self,
        message: &FromSandbox,
        port: Option<BorrowedFd<'_>>,
    ) -> Result<(), SessionError> {
        let lifeline = self.lifeline.as_mut().ok_or(SessionError::Lost)?;
        let sent = lifeline.send(message, port);
        sent.map_err(|error| self.failure(error))
    }

    fn receive(&mut self) -> Result<FromAppliance, SessionError> {
        let lifeline = self.lifeline.as_mut().ok_or(SessionError::Lost)?;
        let received = lifeline.receive();
        received.map_err(|error| self.failure(error))?.ok_or(SessionError::Lost)
    }

    /// The next message as far as it is there already.
    fn glance(&mut self) -> Result<Option<FromAppliance>, SessionError> {
        let Some(lifeline) = &mut self.lifeline else { return Ok(None) };
        ioctl_fionbio(lifeline.as_fd(), true).map_err(io::Error::from)?;
        let received = lifeline.receive();
        ioctl_fionbio(lifeline.as_fd(), false).map_err(io::Error::from)?;
        match received {
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => Err(SessionError::Lost),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn failure(&self, error: io::Error) -> SessionError {
        if error.kind() == io::ErrorKind::WouldBlock {
            // So the kernel says that the time is up.
            return ClientError::Silent(self.client.socket().to_owned()).into();
        }
        error.into()
    }
}

/// Whether a port is a TAP whose device was deleted. A virtual machine's stream is no TAP.
fn has_vanished(port: BorrowedFd<'_>) -> bool {
    tap::identify(port).is_err_and(|error| error.raw_os_error() == Some(libc::EBADFD))
}

fn remembered(request: &EndpointRequest, assigned: &Assigned) -> EndpointRequest {
    let mut request = request.clone();
    request.id = Some(assigned.id);
    request.network.clone_from(&assigned.network);
    request.ifname = Some(assigned.ifname.clone());
    if assigned.port {
        request.mac = Some(assigned.mac.clone());
    }
    for address in &assigned.addresses {
        match address.ip() {
            std::net::IpAddr::V4(ip) => request.ip = Some(ip),
            std::net::IpAddr::V6(ip6) => request.ip6 = Some(ip6),
        }
    }
    request
}
