//! The part of the Docker Engine's API that networks need, so that the docker CLI and its libraries
//! work with weft's socket unmodified.
//!
//! Networks are networks; a container is a sandbox. [`shapes`] are Docker's JSON, [`networks`],
//! [`containers`] and [`system`] the paths, [`words`] what Docker's users and scripts expect to
//! read when something is refused, [`filters`] and [`moment`] two small languages of Docker's.
//!
//! # Promises
//! - Every path is there with and without `/v1.NN` in front, for the versions
//!   [`OLDEST`] to [`NEWEST`].
//! - Status codes and the first words of a refusal are the engine's; our own, which say more,
//!   follow.
//! - Fields that nobody here has a use for are taken and ignored, as the engine does, unless
//!   ignoring them would mislead: then they are refused by name.
//!
//! # Limits
//! No images, volumes, exec, logs, events; containers are listed and inspected, and not made.
//!
//! # Sources
//! Docker Engine API 1.24 to 1.51.

pub mod containers;
pub mod filters;
pub mod moment;
pub mod networks;
pub mod shapes;
pub mod system;
pub mod words;

use axum::Router;
use axum::http::{Request, Uri};
use axum::routing::{get, post};

use crate::control::Control;
use crate::control::failure::Rejected;

/// The oldest version of Docker's API that is understood.
pub const OLDEST: (u32, u32) = (1, 24);
/// The newest version of Docker's API that is understood.
pub const NEWEST: (u32, u32) = (1, 51);

/// Docker's paths.
pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/networks", get(networks::list))
        .route("/networks/create", post(networks::create))
        .route("/networks/prune", post(networks::prune))
        .route("/networks/{id}", get(networks::inspect).delete(networks::remove))
        .route("/networks/{id}/connect", post(networks::connect))
        .route("/networks/{id}/disconnect", post(networks::disconnect))
        .route("/containers/json", get(containers::list))
        .route("/containers/{id}/json", get(containers::inspect))
}

/// The request without the version in its path.
///
/// # Errors
/// When the version is none that is understood.
pub(super) fn without_version<B>(mut request: Request<B>) -> Result<Request<B>, Rejected> {
    let path = request.uri().path();
    let Some((version, rest)) = path.strip_prefix("/v").and_then(|path| path.split_once('/'))
    else {
        return Ok(request);
    };
    let numbers = version.split_once('.');
    let numbers = numbers
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    let Some(asked) = numbers else { return Ok(request) };
    if asked > NEWEST {
        let message = format!(
            "client version {version} is too new. Maximum supported API version is {}",
            text(NEWEST)
        );
        return Err(Rejected::new(400, message));
    }
    if asked < OLDEST {
        let message = format!(
            "client version {version} is too old. Minimum supported API version is {}, please \
             upgrade your client to a newer version",
            text(OLDEST)
        );
        return Err(Rejected::new(400, message));
    }
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let uri = format!("/{rest}{query}").parse::<Uri>();
    *request.uri_mut() = uri.map_err(|error| Rejected::new(400, error.to_string()))?;
    Ok(request)
}

fn text((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// Reads a request's body; one that is not there is one that says nothing.
fn read<T: Default + serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Rejected> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| Rejected::new(400, format!("invalid JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_begin_with_any_version_that_is_understood() {
        let cases = [
            ("/networks", Ok("/networks")),
            ("/v1.24/networks?a=b", Ok("/networks?a=b")),
            ("/v1.51/networks/x/connect", Ok("/networks/x/connect")),
            ("/vx/networks", Ok("/vx/networks")),
            ("/weft/v1/status", Ok("/weft/v1/status")),
            ("/v1.52/networks", Err("client version 1.52 is too new")),
            ("/v2.0/networks", Err("client version 2.0 is too new")),
            ("/v1.23/networks", Err("client version 1.23 is too old")),
        ];
        for (path, expected) in cases {
            let request = Request::builder().uri(path).body(()).unwrap();
            match (without_version(request), expected) {
                (Ok(request), Ok(expected)) => assert_eq!(request.uri(), expected),
                (Err(rejected), Err(expected)) => {
                    assert_eq!(rejected.status, 400);
                    assert!(rejected.failure.message.starts_with(expected), "{rejected:?}");
                }
                (got, _) => panic!("{path}: {got:?}"),
            }
        }
    }
}
