//! One call to a plugin: an HTTP request and its answer, as the engine makes them.
//!
//! `POST /Interface.Method`, JSON in, JSON out, over a connection of its own: a plugin may be
//! restarted between any two calls, and a connection that is kept would then eat the first of them.
//! A plugin that is not there yet is tried again after 1, 2, 4 and 8 seconds.
//!
//! Once a request is under way it may have been carried out, whatever becomes of the answer. So a
//! call that gives something ([`Plugin::obtain`]) is made once, and an answer that comes too late
//! is still listened for, by a task of its own, so that what it brings can be given back. All
//! others ([`Plugin::ask`]) are repeated when the connection breaks.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_LENGTH, HOST, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::discovery::{Address, BadSpec, Directories};
use super::error::{PluginError, tamed};
use super::patience::Patience;
use super::shapes::Refused;

/// The longest answer that is read: 1 MiB.
const MAX_ANSWER: usize = 1 << 20;
/// What the engine accepts.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";
/// What the engine calls the host behind a socket.
const NO_HOST: &str = "plugin.moby.localhost";

/// What a plugin can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// What it is.
    Activate,
    /// What it wants.
    GetCapabilities,
    /// Where subnets are unique.
    GetDefaultAddressSpaces,
    /// A subnet.
    RequestPool,
    /// To take a subnet back.
    ReleasePool,
    /// An address of a subnet.
    RequestAddress,
    /// To take an address back.
    ReleaseAddress,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activate => "Plugin.Activate",
            Self::GetCapabilities => "IpamDriver.GetCapabilities",
            Self::GetDefaultAddressSpaces => "IpamDriver.GetDefaultAddressSpaces",
            Self::RequestPool => "IpamDriver.RequestPool",
            Self::ReleasePool => "IpamDriver.ReleasePool",
            Self::RequestAddress => "IpamDriver.RequestAddress",
            Self::ReleaseAddress => "IpamDriver.ReleaseAddress",
        })
    }
}

/// A plugin, active or not.
#[derive(Clone, Debug)]
pub(super) struct Plugin {
    pub(super) name: Arc<str>,
    pub(super) directories: Arc<Directories>,
    pub(super) patience: Patience,
    /// How many more calls may be under way.
    pub(super) calls: Arc<Semaphore>,
    /// How many more answers may be listened for that nobody waits for.
    pub(super) late: Arc<Semaphore>,
}

/// What carries one request: the sender, and the task that drives the connection.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The body of a call that says something; the engine ends it with a line feed.
pub(super) fn body(said: &impl Serialize) -> Bytes {
    let mut octets = serde_json::to_vec(said).expect("texts, maps of texts and truths are JSON");
    octets.push(b'\n');
    octets.into()
}

impl Plugin {
    /// Asks for something that is worth nothing to nobody if the answer is lost, and again where
    /// that does no harm.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        call: Call,
        body: Bytes,
        give_up: Instant,
    ) -> Result<T, PluginError> {
        let _permit = self.permit(call, give_up).await?;
        let mut attempts = self.attempts(give_up);
        loop {
            let connection = self.reach(call, &mut attempts).await?;
            let asked = Instant::now();
            let until = give_up.min(asked + self.patience.answer);
            match timeout_at(until, self.send(call, connection, body.clone())).await {
                Ok(Ok(answer)) => return self.read(call, &answer),
                Ok(Err(error)) => attempts.pause(error).await?,
                Err(_elapsed) => return Err(self.silent(call, asked)),
            }
        }
    }

    /// Asks for something to keep; `late` is told of an answer that comes when nobody waits for it
    /// any more.
    pub(super) async fn obtain<T, F>(
        &self,
        call: Call,
        body: Bytes,
        give_up: Instant,
        late: impl FnOnce(T) -> F + Send + 'static,
    ) -> Result<T, PluginError>
    where
        T: DeserializeOwned + Send,
        F: Future<Output = ()> + Send,
    {
        let _permit = self.permit(call, give_up).await?;
        let connection = self.reach(call, &mut self.attempts(give_up)).await?;
        let asked = Instant::now();
        let until = give_up.min(asked + self.patience.answer);
        let plugin = self.clone();
        let mut sent = tokio::spawn(async move { plugin.send(call, connection, body).await });
        match timeout_at(until, &mut sent).await {
            Ok(Ok(answered)) => self.read(call, &answered?),
            Ok(Err(panicked)) => Err(self.broken(call, panicked)),
            Err(_elapsed) => {
                self.listen_on(call, sent, late);
                Err(self.silent(call, asked))
            }
        }
    }

    /// Waits for an answer that comes too late.
    fn listen_on<T, F>(
        &self,
        call: Call,
        sent: JoinHandle<Result<Answer, PluginError>>,
        late: impl FnOnce(T) -> F + Send + 'static,
    ) where
        T: DeserializeOwned + Send,
        F: Future<Output = ()> + Send,
    {
        let Ok(place) = Arc::clone(&self.late).try_acquire_owned() else {
            tracing::warn!(plugin = %self.name, %call, "too many late answers; this one is lost");
            sent.abort();
            return;
        };
        let plugin = self.clone();
        tokio::spawn(async move {
            let _place = place;
            let stop = sent.abort_handle();
            match tokio::time::timeout(plugin.patience.late, sent).await {
                Ok(Ok(Ok(answer))) => {
                    if let Ok(given) = plugin.read(call, &answer) {
                        tracing::info!(plugin = %plugin.name, %call, "too late, and given back");
                        late(given).await;
                    }
                }
                Ok(_) => {}
                Err(_elapsed) => stop.abort(),
            }
        });
    }

    async fn permit(
        &self,
        call: Call,
        give_up: Instant,
    ) -> Result<OwnedSemaphorePermit, PluginError> {
        let since = Instant::now();
        match timeout_at(give_up, Arc::clone(&self.calls).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed; and others were not answered either.
            Ok(Err(_)) | Err(_) => Err(self.silent(call, since)),
        }
    }

    fn attempts(&self, give_up: Instant) -> Attempts {
        let contact = give_up.min(Instant::now() + self.patience.contact);
        Attempts { pauses: self.patience.pauses.iter(), contact }
    }

    /// Connects, as soon as there is somebody.
    async fn reach(&self, call: Call, attempts: &mut Attempts) -> Result<Connection, PluginError> {
        loop {
            match self.connect(call, attempts.contact).await {
                Ok(connection) => return Ok(connection),
                Err(error) => attempts.pause(error).await?,
            }
        }
    }

    async fn connect(&self, call: Call, give_up: Instant) -> Result<Connection, PluginError> {
        let found = self.directories.find(&self.name);
        let address = found
            .map_err(|BadSpec { path, why }| PluginError::Spec {
                plugin: self.name.clone(),
                path,
                source: why,
            })?
            .ok_or_else(|| self.not_found())?;
        let unreachable = |source| PluginError::Unreachable {
            plugin: self.name.clone(),
            call,
            address: address.clone(),
            source,
        };
        let connected = timeout_at(give_up, async {
            match &address {
                Address::Unix(path) => {
                    handshake(UnixStream::connect(path).await?, NO_HOST.to_owned()).await
                }
                Address::Tcp(host) => {
                    handshake(TcpStream::connect(host).await?, host.clone()).await
                }
            }
        });
        match connected.await {
            Ok(connected) => connected.map_err(unreachable),
            Err(elapsed) => Err(unreachable(elapsed.into())),
        }
    }

    async fn send(
        &self,
        call: Call,
        mut connection: Connection,
        body: Bytes,
    ) -> Result<Answer, PluginError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/{call}"))
            .header(HOST, &connection.host)
            .header(USER_AGENT, concat!("weft/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, MEDIA_TYPE)
            // Without a body too, as the engine says it.
            .header(CONTENT_LENGTH, body.len())
            .body(Full::new(body))
            .map_err(|error| self.broken(call, error))?;
        let response = connection.sender.send_request(request).await;
        let response = response.map_err(|error| self.broken(call, error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        match body {
            Ok(body) => Ok(Answer { status, body: body.to_bytes() }),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(PluginError::TooLong { plugin: self.name.clone(), call, limit: MAX_ANSWER })
            }
            Err(error) => Err(self.broken(call, error)),
        }
    }

    /// What an answer says, if it is one.
    fn read<T: DeserializeOwned>(&self, call: Call, answer: &Answer) -> Result<T, PluginError> {
        let plugin = || self.name.clone();
        let refused: Option<Refused> = serde_json::from_slice(&answer.body).ok();
        if answer.status != StatusCode::OK {
            let status = answer.status.as_u16();
            let said = refused.map(|refused| refused.err).filter(|said| !said.is_empty());
            let said = said.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned());
            let said = if said.trim().is_empty() { answer.status.to_string() } else { said };
            return Err(PluginError::Status { plugin: plugin(), call, status, said: tamed(&said) });
        }
        let words =
            refused.map(|Refused { error, err }| if error.is_empty() { err } else { error });
        if let Some(said) = words.filter(|said| !said.is_empty()) {
            return Err(PluginError::Refused { plugin: plugin(), call, said: tamed(&said) });
        }
        serde_json::from_slice(&answer.body).map_err(|source| PluginError::NoJson {
            plugin: plugin(),
            call,
            source,
        })
    }

    fn not_found(&self) -> PluginError {
        let mut looked_in = self.directories.sockets.clone();
        let specs = self.directories.specs.iter();
        looked_in.extend(specs.filter(|path| !self.directories.sockets.contains(path)).cloned());
        PluginError::NotFound { plugin: self.name.clone(), looked_in }
    }

    fn silent(&self, call: Call, since: Instant) -> PluginError {
        PluginError::Silent { plugin: self.name.clone(), call, waited: since.elapsed() }
    }

    fn broken(
        &self,
        call: Call,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> PluginError {
        PluginError::Broken { plugin: self.name.clone(), call, source: source.into() }
    }
}

/// The attempts that are left to reach a plugin.
struct Attempts {
    pauses: std::slice::Iter<'static, Duration>,
    contact: Instant,
}

impl Attempts {
    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The reason for the last failure, when there is no next attempt, or it would not help.
    async fn pause(&mut self, failure: PluginError) -> Result<(), PluginError> {
        let is_lasting = matches!(failure, PluginError::Spec { .. }) || !failure.is_away();
        let next = self.pauses.next().filter(|pause| Instant::now() + **pause < self.contact);
        let Some(pause) = next.filter(|_| !is_lasting) else {
            return Err(failure);
        };
        tracing::debug!(error = %failure, "trying again");
        sleep(*pause).await;
        Ok(())
    }
}

/// A whole answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Bytes,
}

async fn handshake<S>(stream: S, host: String) -> io::Result<Connection>
where
    TokioIo<S>: Read + Write + Unpin + Send + 'static,
    S: 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(async move {
        // Whoever waits for the answer hears of it.
        let _ = connection.await;
    });
    Ok(Connection { sender, driver, host })
}
