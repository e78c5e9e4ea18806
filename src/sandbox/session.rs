//! A sandbox's dealings with the appliance: announced, given addresses, connected, kept.
//!
//! A [`Session`] holds the life line and a copy of every port's descriptor. When the appliance goes
//! away, the TAPs stay up because of those copies; [`Session::retry`] announces the sandbox to the
//! next appliance with the addresses it has, hands the same descriptors over again, and a TCP
//! connection in flight goes on after a pause.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::on_demand;
use crate::api::client::{Client, ClientError};
use crate::api::lifeline::Lifeline;
use crate::api::shapes::{
    Assigned, AttachRequest, EndpointRequest, Failure, FromAppliance, FromSandbox,
};
use crate::cnm::Id;

/// How often a sandbox that may start an appliance tries to.
const ATTEMPTS: usize = 4;
/// How long to wait between two looks for a lost appliance.
pub const RETRY: Duration = Duration::from_millis(100);
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
    /// The appliance is gone.
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
        let socket = client.attach()?;
        let mut session = Self {
            client: client.clone(),
            request: request.clone(),
            lifeline: Some(Lifeline::new(socket)?),
            aside: VecDeque::new(),
            name: String::new(),
            endpoints: Vec::new(),
            ports: Vec::new(),
            running: None,
            on_demand: false,
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

    /// Takes a further endpoint in, with the port that was made for it. When that fails the
    /// appliance is as good as lost, and the endpoint with it.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn join(&mut self, endpoint: Assigned, port: Option<OwnedFd>) -> Result<(), SessionError> {
        let place = self.endpoints.len();
        let request = EndpointRequest { aliases: endpoint.aliases.clone(), ..Default::default() };
        self.request.endpoints.push(remembered(&request, &endpoint));
        self.endpoints.push(endpoint);
        self.ports.push(None);
        let Some(port) = port else { return Ok(()) };
        self.offer(place, port).inspect_err(|_| {
            self.forget(place);
            self.lifeline = None;
        })
    }

    /// Tells the appliance that there can be no interface for an endpoint.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn refuse(&mut self, endpoint: Id, failure: Failure) -> Result<(), SessionError> {
        self.send(&FromSandbox::Unconnected { endpoint, failure }, None)
    }

    /// Lets go of an endpoint and its port, and tells the appliance.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn leave(&mut self, endpoint: Id) -> Result<(), SessionError> {
        if let Some(place) = self.endpoints.iter().position(|own| own.id == endpoint) {
            self.forget(place);
        }
        self.send(&FromSandbox::Disconnected { endpoint }, None)
    }

    fn forget(&mut self, place: usize) {
        self.request.endpoints.remove(place);
        self.endpoints.remove(place);
        self.ports.remove(place);
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

    /// The next message; waits for it unless there is none to come.
    pub fn next_event(&mut self) -> Event {
        loop {
            let message = match self.aside.pop_front() {
                Some(message) => Ok(message),
                None => self.receive(),
            };
            match message {
                Ok(FromAppliance::Hosts(text)) => return Event::Hosts(text),
                Ok(FromAppliance::Signal(number)) => return Event::Signal(number),
                Ok(FromAppliance::Connect(endpoint)) => return Event::Connect(endpoint),
                Ok(FromAppliance::Disconnect { endpoint }) => return Event::Disconnect(endpoint),
                Ok(FromAppliance::PortGone { endpoint }) => {
                    if let Some(place) = self.endpoints.iter().position(|e| e.id == endpoint) {
                        return Event::PortGone(place);
                    }
                }
                Ok(FromAppliance::Attached { .. } | FromAppliance::Assigned { .. }) => {}
                Ok(FromAppliance::Refused(_)) | Err(_) => {
                    self.lifeline = None;
                    return Event::Lost;
                }
            }
        }
    }

    /// Whether a message is there already.
    pub fn has_message(&self) -> bool {
        !self.aside.is_empty() || self.lifeline.as_ref().is_some_and(Lifeline::has_message)
    }

    /// Looks for a new appliance and takes everything there; true when the sandbox is back.
    ///
    /// # Errors
    /// What the new appliance refuses; trying again later may still succeed.
    pub fn retry(&mut self) -> Result<bool, SessionError> {
        let socket = match self.client.attach() {
            Ok(socket) => socket,
            Err(ClientError::NotRunning(_)) if self.on_demand => {
                on_demand::start(self.client.socket())?;
                self.client.attach()?
            }
            Err(ClientError::NotRunning(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // A network that only the former appliance put the sandbox on.
        self.aside.retain(|message| !matches!(message, FromAppliance::Connect(_)));
        self.lifeline = Some(Lifeline::new(socket)?);
        let restored = self.restore();
        if restored.is_err() {
            self.lifeline = None;
        }
        restored.map(|()| true)
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
                    self.remember(sandbox, &name, &endpoints);
                    self.name = name;
                    self.endpoints = endpoints;
                    return Ok(());
                }
                FromAppliance::Refused(failure) => return Err(SessionError::Refused(failure)),
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
                FromAppliance::Attached { .. } | FromAppliance::Assigned { .. } => {}
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
        Ok(lifeline.send(message, port)?)
    }

    fn receive(&mut self) -> Result<FromAppliance, SessionError> {
        let lifeline = self.lifeline.as_mut().ok_or(SessionError::Lost)?;
        lifeline.receive()?.ok_or(SessionError::Lost)
    }
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
