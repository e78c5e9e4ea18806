//! Where a plugin is: from its name to its address.
//!
//! The engine's rule for what it calls legacy plugins. A socket `NAME.sock` or `NAME/NAME.sock`
//! wins; then `NAME.spec`, `NAME/NAME.spec` (a URL on one line), `NAME.json` and `NAME/NAME.json`
//! (a URL under `Addr`). The name of the file counts, not the name inside. It is looked for anew at
//! every attempt, so a plugin may move.
//!
//! An ordinary user cannot put a socket in `/run/docker/plugins`, so weft looks in
//! `$XDG_RUNTIME_DIR/docker/plugins` first, unless it is root's: root asks nobody's plugins but its
//! own.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::tamed;

/// Where the engine has sockets.
const SOCKETS: &str = "/run/docker/plugins";
/// Where it has `.spec` and `.json` files.
const SPECS: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];
/// The largest `.spec` or `.json` file: 64 KiB.
const MAX_SPEC: u64 = 64 << 10;

/// Where plugins are looked for, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directories {
    /// Directories with sockets.
    pub sockets: Vec<PathBuf>,
    /// Directories with `.spec` and `.json` files.
    pub specs: Vec<PathBuf>,
}

impl Directories {
    /// Docker's directories, and before them `more`, for both.
    pub fn standard(more: Vec<PathBuf>) -> Self {
        let user = rustix::process::geteuid();
        let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
        let own = own.map_or_else(|| PathBuf::from(format!("/run/user/{user}")), PathBuf::from);
        let mut sockets = more.clone();
        if !user.is_root() {
            sockets.push(own.join("docker/plugins"));
        }
        sockets.push(SOCKETS.into());
        let mut specs = more;
        specs.extend(SPECS.map(PathBuf::from));
        Self { sockets, specs }
    }

    /// Where the plugin called `name` is; `None` when there is none.
    ///
    /// `name` is a name by our rules, without slashes.
    ///
    /// # Errors
    /// When there is a file that should say where it is, and does not.
    pub(super) fn find(&self, name: &str) -> Result<Option<Address>, BadSpec> {
        let places = |folders: &[PathBuf], ending: &str| -> Vec<PathBuf> {
            let file = format!("{name}.{ending}");
            folders.iter().flat_map(|f| [f.join(&file), f.join(name).join(&file)]).collect()
        };
        let is_socket =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|there| there.file_type().is_socket());
        if let Some(socket) = places(&self.sockets, "sock").into_iter().find(is_socket) {
            return Ok(Some(Address::Unix(socket)));
        }
        for folder in &self.specs {
            let folder = std::slice::from_ref(folder);
            for (ending, read) in [("spec", spec as fn(&str) -> _), ("json", json)] {
                for path in places(folder, ending) {
                    let Some(text) = text_of(&path)? else { continue };
                    return match read(&text) {
                        Ok(address) => Ok(Some(address)),
                        Err(why) => Err(BadSpec { path, why }),
                    };
                }
            }
        }
        Ok(None)
    }
}

/// How a plugin is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The path of a socket.
    Unix(PathBuf),
    /// A host with its port, as in a URL.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// A `.spec` or `.json` file that does not say where a plugin is.
#[derive(Debug)]
pub(super) struct BadSpec {
    pub(super) path: PathBuf,
    pub(super) why: SpecError,
}

/// Why a file does not say where a plugin is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// It is no text, or too long.
    #[error("it is no text of at most 64 KiB")]
    NoText,
    /// A `.json` file that is none.
    #[error("it is no JSON with an address under \"Addr\"")]
    NoJson(#[source] serde_json::Error),
    /// What should be a URL is none.
    #[error("{0:?} is no address such as unix:///run/x.sock or tcp://127.0.0.1:7979")]
    NoAddress(String),
    /// A plugin that wants TLS.
    #[error("the plugin asks for TLS, which weft does not speak to plugins")]
    Tls,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    addr: String,
    #[serde(rename = "TLSConfig")]
    tls: Option<Tls>,
}

/// Which certificates a plugin wants; the engine writes it also where it wants none.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Tls {
    #[serde(rename = "CAFile")]
    ca: String,
    cert_file: String,
    key_file: String,
}

/// What is in a file; `None` when there is none.
fn text_of(path: &Path) -> Result<Option<String>, BadSpec> {
    let bad = |why| BadSpec { path: path.to_owned(), why };
    // Anything but a file could keep whoever opens it waiting.
    if !fs::metadata(path).is_ok_and(|there| there.is_file()) {
        return Ok(None);
    }
    let mut octets = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_SPEC + 1).read_to_end(&mut octets))
        .map_err(|error| bad(SpecError::Unreadable(error)))?;
    if octets.len() as u64 > MAX_SPEC {
        return Err(bad(SpecError::NoText));
    }
    String::from_utf8(octets).map(Some).map_err(|_| bad(SpecError::NoText))
}

fn spec(text: &str) -> Result<Address, SpecError> {
    let text = text.trim();
    let no_address = || SpecError::NoAddress(tamed(text));
    let (scheme, rest) = text.split_once("://").ok_or_else(no_address)?;
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Address::Unix(rest.into())),
        "tcp" | "http" => {
            let host = rest.strip_suffix('/').unwrap_or(rest);
            let (name, port) = host.rsplit_once(':').ok_or_else(no_address)?;
            let is_host = |octet: u8| octet.is_ascii_alphanumeric() || b".-_:[]".contains(&octet);
            let is_named = !name.is_empty() && name.bytes().all(is_host);
            if is_named && port.parse::<u16>().is_ok() {
                Ok(Address::Tcp(host.to_owned()))
            } else {
                Err(no_address())
            }
        }
        "https" => Err(SpecError::Tls),
        _ => Err(no_address()),
    }
}

fn json(text: &str) -> Result<Address, SpecError> {
    let described: Described = serde_json::from_str(text).map_err(SpecError::NoJson)?;
    let Tls { ca, cert_file, key_file } = described.tls.unwrap_or_default();
    if [ca, cert_file, key_file].iter().any(|file| !file.is_empty()) {
        return Err(SpecError::Tls);
    }
    spec(&described.addr)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::plugin::tests::Folder;

    #[test]
    fn an_address_is_read_or_refused() {
        let unix = |path: &str| Some(Address::Unix(path.into()));
        let tcp = |host: &str| Some(Address::Tcp(host.to_owned()));
        let cases = [
            ("unix:///run/x.sock\n", unix("/run/x.sock")),
            ("tcp://127.0.0.1:7979", tcp("127.0.0.1:7979")),
            ("  http://ipam.example.test:80/\r\n", tcp("ipam.example.test:80")),
            ("tcp://[::1]:7979", tcp("[::1]:7979")),
            ("tcp://127.0.0.1", None),
            ("tcp://127.0.0.1:port", None),
            ("tcp://:7979", None),
            ("tcp://a b:7979", None),
            ("tcp://127.0.0.1:1/path", None),
            ("unix://run/x.sock", None),
            ("/run/x.sock", None),
            ("fd://3", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let read = spec(text);
            match expected {
                Some(address) => assert_eq!(read.unwrap(), address, "{text:?}"),
                None => assert!(matches!(read, Err(SpecError::NoAddress(_))), "{text:?}: {read:?}"),
            }
        }
        assert!(matches!(spec("https://127.0.0.1:1"), Err(SpecError::Tls)));
    }

    #[test]
    fn a_described_plugin_is_reached_without_tls_or_not_at_all() {
        let cases = [
            (r#"{"Name": "ignored", "Addr": "http://127.0.0.1:7979"}"#, "tcp://127.0.0.1:7979"),
            (
                r#"{"Addr": "tcp://127.0.0.1:1", "TLSConfig": {"InsecureSkipVerify": false,
                    "CAFile": "", "CertFile": "", "KeyFile": ""}}"#,
                "tcp://127.0.0.1:1",
            ),
            (r#"{"Addr": "tcp://127.0.0.1:1", "TLSConfig": {"CAFile": "/ca.pem"}}"#, "TLS"),
            (r#"{"Addr": "https://127.0.0.1:1"}"#, "TLS"),
            (r#"{"Name": "x"}"#, "no JSON with an address"),
            ("127.0.0.1:1", "no JSON with an address"),
        ];
        for (text, expected) in cases {
            let read = match json(text) {
                Ok(address) => address.to_string(),
                Err(error) => error.to_string(),
            };
            assert!(read.contains(expected), "{text}: {read}");
        }
    }

    #[test]
    fn a_plugin_is_found_in_the_engines_order() {
        let folder = Folder::make("found");
        let at = |path: &str| folder.path().join(path);
        let directories = Directories {
            sockets: vec![at("first"), at("run")],
            specs: vec![at("first"), at("etc")],
        };
        for name in ["first", "run/x", "etc/x"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let find = || directories.find("x").unwrap().map(|address| address.to_string());
        let unix = |path: &str| Some(format!("unix://{}", at(path).display()));
        assert_eq!(find(), None);
        // The least wanted first, so that each that follows wins over those before.
        fs::write(at("etc/x/x.json"), r#"{"Addr": "tcp://127.0.0.1:1"}"#).unwrap();
        assert_eq!(find().as_deref(), Some("tcp://127.0.0.1:1"));
        fs::write(at("etc/x.json"), r#"{"Addr": "tcp://127.0.0.1:2"}"#).unwrap();
        assert_eq!(find().as_deref(), Some("tcp://127.0.0.1:2"));
        fs::write(at("etc/x/x.spec"), "tcp://127.0.0.1:3").unwrap();
        assert_eq!(find().as_deref(), Some("tcp://127.0.0.1:3"));
        fs::write(at("first/x.spec"), "tcp://127.0.0.1:4").unwrap();
        assert_eq!(find().as_deref(), Some("tcp://127.0.0.1:4"));
        let _in_folder = UnixListener::bind(at("run/x/x.sock")).unwrap();
        assert_eq!(find(), unix("run/x/x.sock"));
        let _in_run = UnixListener::bind(at("run/x.sock")).unwrap();
        assert_eq!(find(), unix("run/x.sock"));
        // A file that is called like a socket is none.
        fs::write(at("first/x.sock"), "").unwrap();
        assert_eq!(find(), unix("run/x.sock"));
        fs::remove_file(at("first/x.sock")).unwrap();
        let _first = UnixListener::bind(at("first/x.sock")).unwrap();
        assert_eq!(find(), unix("first/x.sock"));
    }

    #[test]
    fn a_file_that_says_nothing_is_named() {
        let folder = Folder::make("says-nothing");
        let path = folder.path().join("x.spec");
        let directories = Directories { sockets: vec![], specs: vec![folder.path().to_owned()] };
        let cases: [(&[u8], &str); 3] = [
            (b"somewhere", "\"somewhere\" is no address"),
            (b"tcp://\xff", "it is no text"),
            (&[b'x'; 70_000], "it is no text of at most 64 KiB"),
        ];
        for (content, expected) in cases {
            fs::write(&path, content).unwrap();
            let bad = directories.find("x").unwrap_err();
            assert_eq!(bad.path, path);
            assert!(bad.why.to_string().contains(expected), "{:?}", bad.why);
        }
    }
}
