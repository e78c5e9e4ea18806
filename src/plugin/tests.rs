//! A plugin that does as a test tells it, and what weft makes of that.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use weft_ipam::Family;

use super::grant::{self, Haul};
use super::*;
use crate::cnm::{Given, SubnetSpec};

mod hostile;
mod transcripts;

/// A folder of one test's own.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make(name: &str) -> Self {
        let name = format!("weft-plugin-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How the plugin of a test answers a call.
#[derive(Clone)]
enum Reply {
    /// With status 200 and this.
    Json(Value),
    /// With these octets, whatever they are, and then the end of the connection.
    Raw(Vec<u8>),
    /// With the first octets, and then with the second ones again and again, until nobody
    /// listens; a pause between them.
    Endless(&'static [u8], &'static [u8], Duration),
    /// With nothing until nobody listens any more.
    Silence,
    /// With this, once the test says so.
    Later(Value, Arc<Mutex<mpsc::Receiver<()>>>),
}

impl Reply {
    fn status(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::Raw(format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}").into())
    }
}

/// A request as the plugin got it.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    path: String,
    head: String,
    body: Option<Value>,
}

/// A plugin in a folder of its own.
struct Fake {
    folder: Folder,
    asked: Arc<Mutex<Vec<Asked>>>,
    served: Option<JoinHandle<()>>,
}

type Script = Box<dyn Fn(&str, Option<&Value>) -> Reply + Send + Sync>;

impl Fake {
    /// A plugin that shakes hands, and then does as `script` says.
    fn start(
        name: &str,
        script: impl Fn(&str, Option<&Value>) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let folder = Folder::make(name);
        let listener = UnixListener::bind(folder.path().join("fake.sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(Box::new(script));
        let log = Arc::clone(&asked);
        let served = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                let stream = stream.unwrap();
                let Some(asked) = read_request(&stream) else { break };
                // It ends when the other side has gone.
                std::thread::spawn(move || {
                    let reply = script(&asked.path, asked.body.as_ref());
                    log.lock().unwrap().push(asked);
                    answer(stream, reply);
                });
            }
        });
        Self { folder, asked, served: Some(served) }
    }

    fn plugins(&self) -> Plugins {
        plugins_in(&self.folder)
    }

    /// What it was asked so far, without the handshake.
    fn asked(&self) -> Vec<(String, Option<Value>)> {
        let asked = self.asked.lock().unwrap();
        let plain =
            |path: &str| !["Activate", "Capabilities", "Spaces"].iter().any(|e| path.ends_with(e));
        let asked = asked.iter().filter(|asked| plain(&asked.path));
        asked.map(|asked| (asked.path.clone(), asked.body.clone())).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // A connection that says nothing ends it.
        drop(UnixStream::connect(self.folder.path().join("fake.sock")));
        let served = self.served.take().unwrap().join();
        assert!(served.is_ok() || std::thread::panicking());
    }
}

/// How plugins are waited for in tests: as in life, but not as long.
const SHORT: Patience = Patience {
    pauses: &[Duration::from_millis(20), Duration::from_millis(40)],
    contact: Duration::from_secs(5),
    answer: Duration::from_millis(500),
    whole: Duration::from_secs(10),
    late: Duration::from_secs(10),
};

fn plugins_in(folder: &Folder) -> Plugins {
    let folders = || vec![folder.path().to_owned()];
    Plugins::new(Directories { sockets: folders(), specs: folders() }, SHORT)
}

fn read_request(mut stream: &UnixStream) -> Option<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut octets = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).unwrap();
        if count == 0 {
            return None;
        }
        octets.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&octets);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() < length.parse().unwrap() {
            continue;
        }
        let path = text.split(' ').nth(1).unwrap().to_owned();
        let body = (!body.is_empty()).then(|| serde_json::from_str(body).unwrap());
        return Some(Asked { path, head, body });
    }
}

fn answer(mut stream: UnixStream, reply: Reply) {
    let whole = |value: &Value| match Reply::status(200, &value.to_string()) {
        Reply::Raw(octets) => octets,
        Reply::Json(_) | Reply::Endless(..) | Reply::Silence | Reply::Later(..) => unreachable!(),
    };
    // Whoever asked may have had enough.
    let _ = match reply {
        Reply::Json(value) => stream.write_all(&whole(&value)),
        Reply::Raw(octets) => stream.write_all(&octets),
        Reply::Later(value, told) => {
            told.lock().unwrap().recv().unwrap();
            stream.write_all(&whole(&value))
        }
        Reply::Endless(head, octets, pause) => stream.write_all(head).and_then(|()| {
            loop {
                stream.write_all(octets)?;
                std::thread::park_timeout(pause);
            }
        }),
        Reply::Silence => stream.read(&mut [0; 1]).map(|_| ()),
    };
}

/// A plugin's answers while all goes well: pool 10.9.0.0/24, and whatever address is asked for.
fn obliging(path: &str, body: Option<&Value>) -> Reply {
    let pool = |text: &str| json!({"PoolID": format!("p/{text}"), "Pool": text, "Data": {}});
    let asked = |key: &str| body.and_then(|body| body[key].as_str()).unwrap_or_default();
    Reply::Json(match path {
        "/Plugin.Activate" => json!({"Implements": ["NetworkDriver", "IpamDriver"]}),
        "/IpamDriver.GetCapabilities" => json!({"RequiresMACAddress": true}),
        "/IpamDriver.GetDefaultAddressSpaces" => {
            json!({"LocalDefaultAddressSpace": "local", "GlobalDefaultAddressSpace": "global"})
        }
        "/IpamDriver.RequestPool" if asked("Pool").is_empty() => pool("10.9.0.0/24"),
        "/IpamDriver.RequestPool" => pool(asked("Pool")),
        "/IpamDriver.RequestAddress" if asked("Address").is_empty() => {
            json!({"Address": "10.9.0.1/24"})
        }
        "/IpamDriver.RequestAddress" => json!({"Address": format!("{}/24", asked("Address"))}),
        "/IpamDriver.ReleasePool" | "/IpamDriver.ReleaseAddress" => json!({}),
        _ => return Reply::status(404, "404 page not found"),
    })
}

async fn ask_for_network(
    plugins: &Plugins,
    wishes: &[(SubnetSpec, Family)],
    haul: &mut Haul,
) -> Result<Vec<SubnetSpec>, PluginError> {
    let give_up = plugins.patience().give_up();
    let driver = plugins.ipam("fake", give_up).await?;
    grant::network(&driver, wishes, &BTreeMap::new(), &[], give_up, haul).await
}

fn wish(subnet: &str) -> (SubnetSpec, Family) {
    let subnet = subnet.parse().unwrap();
    (SubnetSpec { subnet: Some(subnet), ..SubnetSpec::default() }, Family::of(subnet))
}

fn any() -> (SubnetSpec, Family) {
    (SubnetSpec::default(), Family::V4)
}

#[tokio::test]
async fn the_handshake_is_the_engines_and_happens_once() {
    let fake = Fake::start("handshake", obliging);
    let plugins = fake.plugins();
    for _ in 0..2 {
        let driver = plugins.ipam("fake", SHORT.give_up()).await.unwrap();
        assert!(driver.requires_mac() && !driver.requires_replay());
    }
    let asked = fake.asked.lock().unwrap().clone();
    let paths: Vec<&str> = asked.iter().map(|asked| &*asked.path).collect();
    assert_eq!(paths, ["/Plugin.Activate", "/IpamDriver.GetCapabilities"]);
    for asked in asked {
        let lines = asked.head.lines().skip(1);
        let agent = concat!("user-agent: weft/", env!("CARGO_PKG_VERSION"));
        let expected = [
            "host: plugin.moby.localhost",
            agent,
            "accept: application/vnd.docker.plugins.v1.2+json",
            "content-length: 0",
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
        assert_eq!(asked.body, None);
    }
}

#[tokio::test]
async fn a_plugin_that_comes_late_is_waited_for_as_the_engine_does() {
    let folder = Folder::make("comes-late");
    let plugins = plugins_in(&folder);
    let begun = Instant::now();
    let error = plugins.ipam("fake", SHORT.give_up()).await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(60));
    assert_eq!(error.to_string(), "plugin \"fake\" not found");
    assert!(error.is_away());
    let help = error.help();
    assert!(help.contains(&folder.path().display().to_string()), "{help}");

    drop(UnixListener::bind(folder.path().join("fake.sock")).unwrap());
    let error = plugins.ipam("fake", SHORT.give_up()).await.unwrap_err();
    let text = crate::cli::chain(&error);
    assert!(text.starts_with("plugin \"fake\": Plugin.Activate: nobody is at unix:///"), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn a_pool_of_the_drivers_choice_keeps_clear_of_what_is_there() {
    let next = Mutex::new(0);
    let fake = Fake::start("choice", move |path, body| {
        if path != "/IpamDriver.RequestPool" {
            return obliging(path, body);
        }
        let mut next = next.lock().unwrap();
        *next += 1;
        let subnet = format!("10.9.{}.0/24", *next - 1);
        Reply::Json(json!({"PoolID": format!("p{}", *next - 1), "Pool": subnet, "Data": {
            "com.docker.network.gateway": format!("10.9.{}.99/24", *next - 1)
        }}))
    });
    let plugins = fake.plugins();
    let give_up = SHORT.give_up();
    let driver = plugins.ipam("fake", give_up).await.unwrap();
    let taken = ["10.9.0.0/23".parse().unwrap()];
    let mut haul = Haul::default();
    let options = BTreeMap::new();
    let wishes = [any()];
    let granted =
        grant::network(&driver, &wishes, &options, &taken, give_up, &mut haul).await.unwrap();
    assert_eq!(granted[0].subnet, "10.9.2.0/24".parse().ok());
    assert_eq!(granted[0].gateway, "10.9.2.99".parse().ok());
    let pool = |id: &str| Given::Pool { pool: id.to_owned() };
    assert_eq!(haul, Haul { kept: vec![pool("p2")], spare: vec![pool("p0"), pool("p1")] });

    let everything = ["0.0.0.0/0".parse().unwrap()];
    let mut haul = Haul::default();
    let refused = grant::network(&driver, &wishes, &options, &everything, give_up, &mut haul);
    let error = refused.await.unwrap_err();
    assert!(error.to_string().ends_with("overlaps 0.0.0.0/0, and so did the 15 before it"));
    assert_eq!((haul.kept.len(), haul.spare.len()), (0, 16));
}

#[tokio::test]
async fn an_endpoint_has_an_address_of_each_family_and_a_full_pool_makes_room() {
    let fake = Fake::start("families", |path, body| {
        let pool = body.and_then(|body| body["PoolID"].as_str()).unwrap_or_default();
        match (path, pool) {
            ("/IpamDriver.RequestAddress", "full") => Reply::Json(json!({"Error": "pool is full"})),
            ("/IpamDriver.RequestAddress", "six") => Reply::Json(json!({"Address": "fd00::7/64"})),
            _ => obliging(path, body),
        }
    });
    let plugins = fake.plugins();
    let give_up = SHORT.give_up();
    let driver = plugins.ipam("fake", give_up).await.unwrap();
    let pool = |id: &str, subnet: &str| RemotePool {
        id: id.to_owned(),
        subnet: subnet.parse().unwrap(),
        gateway: None,
    };
    let pools = [pool("six", "fd00::/64"), pool("full", "10.8.0.0/24"), pool("p", "10.9.0.0/24")];
    let wish = grant::EndpointWish {
        name: "web",
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        addresses: &[],
    };
    let mut haul = Haul::default();
    let given = grant::endpoint(&driver, &pools, wish, give_up, &mut haul).await.unwrap();
    let addresses: [IpAddr; 2] = ["10.9.0.1".parse().unwrap(), "fd00::7".parse().unwrap()];
    assert_eq!(given, addresses);
    let options = json!({
        "com.docker.network.endpoint.macaddress": "02:00:00:00:00:01",
        "com.docker.network.endpoint.name": "web",
    });
    let asked = fake.asked();
    assert_eq!(asked.len(), 3);
    for (path, body) in asked {
        assert_eq!(path, "/IpamDriver.RequestAddress");
        assert_eq!(body.unwrap()["Options"], options);
    }
    assert_eq!(haul.kept.len(), 2);

    let error = grant::endpoint(&driver, &pools[1..2], wish, give_up, &mut haul).await;
    assert_eq!(error.unwrap_err().to_string(), "remote: pool is full");
}
