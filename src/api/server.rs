//! The server side of the API socket.
//!
//! HTTP/1.1 over a unix socket that only its owner may open. Every handler asks the [`Control`]
//! and answers with one of the [shapes](super::shapes); none waits while it holds anything.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::{UnixListener, UnixStream};

use super::docker;
use super::lifeline::PROTOCOL;
use super::shapes::{Changes, Ended, Failure, FromAppliance, Publishing};
use crate::control::failure::Rejected;
use crate::control::{Control, lifelines};

/// The largest request body, in octets.
const MAX_BODY: usize = 1 << 20;
/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What `POST …/stop` carries.
#[derive(Debug, Deserialize, serde::Serialize)]
pub struct Stop {
    /// The signal's number.
    pub signal: i32,
}

/// What `POST …/down` carries.
#[derive(Debug, Default, Deserialize, serde::Serialize)]
pub struct Down {
    /// Whether sandboxes that the file does not declare go on without an appliance.
    #[serde(default)]
    pub keep: bool,
}

/// Serves connections until the task is dropped.
pub async fn serve(control: Control, listener: UnixListener) {
    let routes = routes(control);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, routes.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely; those in use come back when sandboxes end.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, routes: Router) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(|request| async {
        match docker::without_version(request) {
            Ok(request) => routes.call(request).await,
            Err(rejected) => Ok(rejected.into_response()),
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

fn routes(control: Control) -> Router {
    docker::routes()
        .route("/weft/v1/status", get(status))
        .route("/weft/v1/sandboxes", get(sandboxes))
        .route("/weft/v1/sandboxes/{name}", get(sandbox))
        .route("/weft/v1/sandboxes/{name}/stop", post(stop))
        .route("/weft/v1/sandboxes/{name}/publish", post(publish))
        .route("/weft/v1/sandboxes/{name}/unpublish", post(unpublish))
        .route("/weft/v1/publications", get(publications))
        .route("/weft/v1/ports", get(ports))
        .route("/weft/v1/fdb", get(fdb))
        .route("/weft/v1/drops", get(drops))
        .route("/weft/v1/flows", get(flows))
        .route("/weft/v1/attach", post(attach))
        .route("/weft/v1/reload", post(reload))
        .route("/weft/v1/down", post(down))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(control)
}

async fn status(State(control): State<Control>) -> Response {
    Json(control.status()).into_response()
}

async fn sandboxes(State(control): State<Control>) -> Response {
    Json(control.sandboxes()).into_response()
}

async fn sandbox(State(control): State<Control>, Path(name): Path<String>) -> Response {
    match control.find(&name) {
        Some((line, _)) => Json(line).into_response(),
        None => no_such_sandbox(&name).into_response(),
    }
}

async fn stop(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: Result<Json<Stop>, JsonRejection>,
) -> Result<Json<()>, Rejected> {
    let Json(Stop { signal }) = body.map_err(bad_body)?;
    if !(1..=64).contains(&signal) {
        return Err(Rejected::new(400, format!("there is no signal {signal}")));
    }
    let (_, id) = control.find(&name).ok_or_else(|| no_such_sandbox(&name))?;
    if control.signal(id, FromAppliance::Signal(signal)) {
        Ok(Json(()))
    } else {
        Err(Rejected::new(503, format!("sandbox {name} does not listen")))
    }
}

async fn publish(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: Result<Json<Publishing>, JsonRejection>,
) -> Result<Json<()>, Rejected> {
    let Json(Publishing { publish }) = body.map_err(bad_body)?;
    control.publish(&name, &publish).map(Json)
}

async fn unpublish(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: Result<Json<Publishing>, JsonRejection>,
) -> Result<Json<()>, Rejected> {
    let Json(Publishing { publish }) = body.map_err(bad_body)?;
    control.unpublish(&name, &publish).map(Json)
}

async fn publications(State(control): State<Control>) -> Response {
    Json(control.publications()).into_response()
}

async fn ports(State(control): State<Control>) -> Response {
    Json(control.ports()).into_response()
}

async fn fdb(State(control): State<Control>) -> Response {
    Json(control.fdb()).into_response()
}

async fn drops(State(control): State<Control>) -> Response {
    Json(control.drops()).into_response()
}

async fn flows(State(control): State<Control>) -> Response {
    Json(control.flows()).into_response()
}

async fn reload(State(control): State<Control>) -> Result<Json<Changes>, Rejected> {
    Ok(Json(Changes { changes: control.reload().await? }))
}

async fn down(
    State(control): State<Control>,
    body: Result<Json<Down>, JsonRejection>,
) -> Result<Json<Ended>, Rejected> {
    let Json(Down { keep }) = body.map_err(bad_body)?;
    // A task of its own: this one is dropped when the client hangs up, and half an end is none.
    let ended = tokio::spawn(async move {
        let ended = control.wind_down(keep).await;
        control.end();
        ended
    });
    ended.await.map(Json).map_err(|error| Rejected::new(500, error.to_string()))
}

/// Turns the connection into a life line.
async fn attach(State(control): State<Control>, mut request: Request) -> Response {
    let wanted = request.headers().get(header::UPGRADE).map(HeaderValue::as_bytes);
    if wanted != Some(PROTOCOL.as_bytes()) {
        let message = format!("this path is for `Upgrade: {PROTOCOL}`");
        return Rejected::new(426, message).into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a life line did not begin"),
        };
        match upgraded.downcast::<TokioIo<UnixStream>>() {
            // What was sent before the answer cannot carry descriptors, and no client of ours does.
            Ok(parts) if parts.read_buf.is_empty() => {
                lifelines::serve(control, parts.io.into_inner()).await;
            }
            Ok(_) => tracing::debug!("a client spoke before its life line began"),
            Err(_) => tracing::error!("a life line is not a unix socket"),
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn unknown(request: Request) -> Response {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    Rejected::new(404, message).into_response()
}

fn no_such_sandbox(name: &str) -> Rejected {
    Rejected::new(404, format!("no sandbox is called {name:?}")).help("`weft ps` lists them")
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` gives it away")]
fn bad_body(rejection: JsonRejection) -> Rejected {
    Rejected::new(rejection.status().as_u16(), rejection.body_text())
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let failure: Failure = self.failure;
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(failure)).into_response()
    }
}
