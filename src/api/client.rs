//! The client side of the API socket: what the CLI is made of.
//!
//! Each call runs on an executor that lives for the call only, so that the process has one thread
//! and no leftovers when it forks into a sandbox. No call waits for ever: an appliance may have been
//! stopped, and its socket goes on taking calls.
//!
//! Whoever made the socket is who may have what is sent there: descriptors of network interfaces,
//! for one. So the other side must be the caller or root, as the kernel tells.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lifeline::PROTOCOL;
use super::shapes::Failure;
use crate::socket_path;

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// How long an answer may take. Ending an appliance with all its sandboxes takes the longest.
const ANSWER: Duration = Duration::from_secs(60);

/// A text as part of a path or a query (RFC 3986 §2.1).
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"_.-~".contains(&octet) {
            escaped.push(char::from(octet));
        } else {
            escaped.push_str(&format!("%{octet:02X}"));
        }
    }
    escaped
}

/// Talks to the appliance behind one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nothing listens on the socket.
    #[error("no appliance is running at {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket may not be used.
    #[error("the socket {} cannot be opened", .0.display())]
    Socket(PathBuf, #[source] io::Error),
    /// Another user listens on the socket.
    #[error("the appliance at {} belongs to user {}", .0.display(), .1)]
    Foreign(PathBuf, u32),
    /// Somebody listens and does not answer.
    #[error("the appliance at {} does not answer", .0.display())]
    Silent(PathBuf),
    /// The appliance refused.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The connection broke, or what came over it is no API.
    #[error("the appliance at {} did not answer properly", .0.display())]
    Broken(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ClientError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::NotRunning(_) => "start one with `weft up FILE`; `weft run` starts one by itself",
            Self::Refused(failure) => return failure.help.clone(),
            Self::Socket(..) => "an appliance answers its own user only; is it root's?",
            Self::Foreign(..) => "choose another place with --socket or WEFT_SOCKET",
            Self::Silent(_) => "if its process is stopped, `kill -CONT` lets it go on",
            Self::Broken(..) => return None,
        };
        Some(text.to_owned())
    }
}

impl Client {
    /// A client of the socket at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { socket: path.into() }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether nothing listens on the socket any more.
    pub fn is_stale(&self) -> bool {
        !socket_path::is_listening(&self.socket).unwrap_or(false)
    }

    /// Asks for something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new())
    }

    /// Has something done.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        self.call(Method::POST, path, body.into())
    }

    /// Has something removed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, path, Bytes::new())
    }

    /// Opens a [life line](super::lifeline): a connection that becomes a socket of its own. Waits
    /// no longer than `patience`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn attach(&self, patience: Duration) -> Result<UnixStream, ClientError> {
        self.block_on(patience, async {
            let request = Request::builder()
                .method(Method::POST)
                .uri("/weft/v1/attach")
                .header(HOST, "weft")
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, PROTOCOL)
                .body(Full::new(Bytes::new()))
                .map_err(|error| self.broken(error))?;
            let response = self.send(request).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(self.refusal(response).await);
            }
            let upgraded =
                hyper::upgrade::on(response).await.map_err(|error| self.broken(error))?;
            let parts = upgraded
                .downcast::<TokioIo<tokio::net::UnixStream>>()
                .map_err(|_| self.broken("not a unix socket"))?;
            parts.io.into_inner().into_std().map_err(|error| self.broken(error))
        })
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        self.block_on(ANSWER, async {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(HOST, "weft")
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(body))
                .map_err(|error| self.broken(error))?;
            let response = self.send(request).await?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            let body = self.read(response).await?;
            // Docker's API says nothing where there is nothing to say.
            let body = if body.is_empty() { &b"null"[..] } else { &body };
            serde_json::from_slice(body).map_err(|error| self.broken(error))
        })
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<hyper::body::Incoming>, ClientError> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.map_err(|error| {
            let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
            if nobody.contains(&error.kind()) {
                ClientError::NotRunning(self.socket.clone())
            } else {
                ClientError::Socket(self.socket.clone(), error)
            }
        })?;
        let owner = stream.peer_cred().map_err(|error| self.broken(error))?.uid();
        let user = rustix::process::geteuid();
        if owner != user.as_raw() && owner != 0 && !user.is_root() {
            return Err(ClientError::Foreign(self.socket.clone(), owner));
        }
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|error| self.broken(error))
    }

    async fn refusal(&self, response: Response<hyper::body::Incoming>) -> ClientError {
        let status = response.status();
        match self.read(response).await {
            Ok(body) => match serde_json::from_slice(&body) {
                Ok(failure) => ClientError::Refused(failure),
                Err(_) => self.broken(format!("status {status}")),
            },
            Err(error) => error,
        }
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| self.broken(error))
    }

    fn block_on<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.broken(error))?
            .block_on(async { tokio::time::timeout(patience, call).await })
            .unwrap_or_else(|_| Err(ClientError::Silent(self.socket.clone())))
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken(self.socket.clone(), error.into())
    }
}
