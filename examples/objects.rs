//! What networks and endpoints cost as objects: made, listed, inspected, kept over a restart.
//!
//! ```text
//! objects WEFT COUNT...     an appliance with so many networks, and ten times as many endpoints
//! ```
//!
//! `WEFT` is the program. For each count it starts an appliance of its own on a fresh state, talks
//! to it over its socket as `docker network` and `weft run` do, kills it with SIGKILL and starts it
//! again. The endpoints belong to life lines that make no interface, 32 each, as many as a sandbox
//! may have. One JSON object for each count is printed.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft::api::client::Client;
use weft::api::lifeline::Lifeline;
use weft::api::shapes::{AttachRequest, EndpointRequest, FromAppliance, FromSandbox, Kind};

/// Endpoints for each network.
const DENSITY: usize = 10;
/// Endpoints for each life line.
const ENDPOINTS: usize = 32;
/// Networks that are inspected one by one.
const INSPECTED: usize = 100;
/// How long an appliance may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weft, counts @ ..] = &arguments[..] else {
        eprintln!("usage: objects WEFT COUNT...");
        return ExitCode::from(2);
    };
    for count in counts {
        let measured = count.parse().map_err(Into::into).and_then(|count| measure(weft, count));
        match measured {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("objects: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn measure(weft: &str, count: usize) -> Outcome<Value> {
    let folder = Folder::new()?;
    let socket = folder.0.join("weft.sock");
    let (mut appliance, _) = Appliance::start(weft, &socket)?;
    let mut http = Http::connect(&socket)?;
    let mut makes = Vec::with_capacity(count);
    for number in 0..count {
        let body = json!({ "Name": format!("n{number}"), "Driver": "bridge",
            "IPAM": { "Config": [{ "Subnet": subnet(number) }] } });
        makes.push(timed(|| http.post("/networks/create", &body))?.1);
    }
    let client = Client::new(&socket);
    let wanted: Vec<usize> = (0..count * DENSITY).map(|number| number % count).collect();
    let mut lines = Vec::new();
    let (_, attach) = timed(|| {
        for (number, networks) in wanted.chunks(ENDPOINTS).enumerate() {
            lines.push(life_line(&client, number, networks)?);
        }
        Ok(())
    })?;
    // Neighbours are told of each other within a second; the tables are asked when that is done.
    std::thread::sleep(Duration::from_secs(2));
    // The appliance closes connections that rest.
    let mut http = Http::connect(&socket)?;
    let (listed, list) = timed(|| http.get("/networks"))?;
    expect("networks listed", listed.as_array().map_or(0, Vec::len), count + 3)?;
    let (_, inspect) = timed(|| {
        for number in (0..count).step_by((count / INSPECTED).max(1)).take(INSPECTED) {
            let network = http.get(&format!("/networks/n{number}"))?;
            expect("endpoints", network["Containers"].as_object().map_or(0, |c| c.len()), DENSITY)?;
        }
        Ok(())
    })?;
    let resident_mib = appliance.resident_mib()?;
    let state_mib = std::fs::metadata(folder.state().join("state.db"))?.len() as f64 / 1048576.0;
    appliance.kill()?;
    let (mut appliance, restart) = Appliance::start(weft, &socket)?;
    let mut http = Http::connect(&socket)?;
    let kept: Value = http.get("/weft/v1/status")?;
    expect("networks kept", number(&kept["networks"]), count + 3)?;
    expect("endpoints kept", number(&kept["endpoints"]), count * DENSITY)?;
    drop(lines);
    // Those whose life lines have ended are given up after a while.
    let by = Instant::now() + PATIENCE;
    while number(&http.get("/weft/v1/status")?["endpoints"]) > 0 {
        if Instant::now() > by {
            return Err("endpoints are not given up".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut http = Http::connect(&socket)?;
    let mut removes = Vec::with_capacity(count);
    for number in 0..count {
        removes.push(timed(|| http.delete(&format!("/networks/n{number}")))?.1);
    }
    appliance.kill()?;
    let tail = count.div_ceil(10);
    Ok(json!({
        "fsync_us": fsync_us(&folder.0)?,
        "networks": count,
        "endpoints": count * DENSITY,
        "create_per_s": rate(count, makes.iter().sum()),
        "create_last_tenth_us": micros(makes.iter().rev().take(tail).sum(), tail),
        "attach_endpoints_per_s": rate(count * DENSITY, attach),
        "list_ms": list.as_secs_f64() * 1e3,
        "inspect_us": micros(inspect, count.min(INSPECTED)),
        "restart_ms": restart.as_secs_f64() * 1e3,
        "remove_per_s": rate(count, removes.iter().sum()),
        "resident_mib": resident_mib,
        "state_mib": state_mib,
    }))
}

/// What it takes here to have one page on disk: the median of some.
fn fsync_us(folder: &Path) -> Outcome<f64> {
    let mut file = std::fs::File::create(folder.join("page"))?;
    let mut times = (0..101)
        .map(|_| {
            let synced = timed(|| Ok(file.write_all(&[0; 4096]).and_then(|()| file.sync_all())?));
            synced.map(|((), time)| micros(time, 1))
        })
        .collect::<Outcome<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn subnet(number: usize) -> String {
    format!("10.{}.{}.0/24", number / 256, number % 256)
}

/// A sandbox on these networks that never makes an interface.
fn life_line(client: &Client, number: usize, networks: &[usize]) -> Outcome<Lifeline> {
    let mut line = Lifeline::new(client.attach(PATIENCE)?)?;
    let endpoint = |network: &usize| EndpointRequest {
        network: format!("n{network}"),
        ..EndpointRequest::default()
    };
    let request = AttachRequest {
        sandbox: None,
        name: Some(format!("s{number}")),
        kind: Kind::Run,
        pid: std::process::id(),
        command: vec!["none".to_owned()],
        endpoints: networks.iter().map(endpoint).collect(),
        declared: false,
    };
    line.send(&FromSandbox::Attach(request), None)?;
    match line.receive()? {
        Some(FromAppliance::Assigned { .. }) => Ok(line),
        other => Err(format!("sandbox s{number} was not taken in: {other:?}").into()),
    }
}

/// An appliance that ends with its owner.
struct Appliance(Child);

impl Appliance {
    /// Starts one, and says how long it took until it answered.
    fn start(weft: &str, socket: &Path) -> Outcome<(Self, Duration)> {
        let begun = Instant::now();
        let child = Command::new(weft)
            .args(["up", "--socket"])
            .arg(socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let appliance = Self(child);
        let is_up = || Http::connect(socket).and_then(|mut http| http.get("/weft/v1/status"));
        while is_up().is_err() {
            if begun.elapsed() > PATIENCE {
                return Err("the appliance does not start".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok((appliance, begun.elapsed()))
    }

    fn resident_mib(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 =
            line.and_then(|line| line.trim().strip_suffix(" kB")).unwrap_or("0").parse()?;
        Ok(kib / 1024.0)
    }

    fn kill(&mut self) -> Outcome<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // It has ended where it was killed.
        let _ = self.kill();
    }
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("weft-objects-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn state(&self) -> PathBuf {
        self.0.join("weft.sock.state")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One connection that is kept open, as a library's would be.
struct Http(BufReader<UnixStream>);

impl Http {
    fn connect(socket: &Path) -> Outcome<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn get(&mut self, path: &str) -> Outcome<Value> {
        self.ask("GET", path, "")
    }

    fn post(&mut self, path: &str, body: &Value) -> Outcome<Value> {
        self.ask("POST", path, &body.to_string())
    }

    fn delete(&mut self, path: &str) -> Outcome<Value> {
        self.ask("DELETE", path, "")
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> Outcome<Value> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: weft\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut status = String::new();
        self.0.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            self.0.read_line(&mut header)?;
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        if !status.starts_with("HTTP/1.1 2") {
            return Err(format!("{method} {path}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }
}

fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Duration)> {
    let begun = Instant::now();
    let done = work()?;
    Ok((done, begun.elapsed()))
}

fn expect(what: &str, found: usize, expected: usize) -> Outcome<()> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, not {expected}").into()) }
}

fn number(value: &Value) -> usize {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX)
}

fn rate(count: usize, time: Duration) -> f64 {
    (count as f64 / time.as_secs_f64()).round()
}

fn micros(time: Duration, count: usize) -> f64 {
    (time.as_secs_f64() * 1e6 / count as f64).round()
}
