//! A real Docker Engine: Debian's dockerd, by hand, in namespaces of its own.
//!
//! It is process 1 of a PID namespace that dies with the test, also when the test is killed; so
//! do containerd, the shims and every container, and the mounts go with them. What is outside are
//! control groups, which go when [`Engine`] goes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::program::Program;
use super::wait::{eventually, until};
use super::world::{PREFIX, World};

/// How long the engine may take to die.
const GRACE: Duration = Duration::from_secs(10);
/// The image of every container.
pub const IMAGE: &str = "guest";

/// What the engine needs of the machine, besides what every real test does.
pub const TOOLS: [&str; 4] = ["dockerd", "docker", "busybox", "iptables"];

/// Where the engine finds itself: nothing of the machine's own one is in sight, neither its state
/// in `/run` nor its settings in `/etc/docker`, and `eth0` leads to nobody.
const START: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /etc/docker
mount -t tmpfs tmpfs /etc/docker
mkdir /etc/docker/plugins
ip link set lo up
ip link add eth0 type veth peer name far0
ip link set eth0 up
echo "unix://$HOME/custom-ipam.sock" > /etc/docker/plugins/custom-ipam.spec
echo '{}' > /etc/docker/daemon.json
exec dockerd --host "unix://$HOME/engine.sock" --pidfile "$HOME/engine.pid" \
  --data-root "$HOME/data" --exec-root "$HOME/exec" --storage-driver vfs \
  --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$1"
"#;

/// A Docker Engine that runs.
#[derive(Debug)]
pub struct Engine {
    program: Program,
    socket: PathBuf,
    group: String,
}

impl World {
    /// Starts a Docker Engine and waits until it answers and has its image.
    #[track_caller]
    pub fn engine(&self) -> Engine {
        let group = format!("{PREFIX}{}", self.tag);
        // Whoever dies first takes the rest along: the test its child, `unshare` process 1.
        let mut command = self.command("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork"]);
        command.args(["--kill-child", "--mount-proc", "bash", "-c", START, "bash"]);
        command.arg(format!("/{group}"));
        let program = Program::start(command);
        let mut engine = Engine { program, socket: self.path("engine.sock"), group };
        eventually("the engine answers", || {
            assert!(!engine.program.has_ended(), "{}", engine.program.err());
            (self.docker_at(&engine.socket, &["version"]).end().code == 0).then_some(())
        });
        self.make_image(&engine);
        engine
    }

    /// Starts the docker CLI with whoever listens at `socket`.
    pub fn docker_at(&self, socket: &Path, words: &[impl AsRef<OsStr>]) -> Program {
        let mut command = self.command(cli());
        command
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .env("DOCKER_CONFIG", self.path("docker"))
            .args(words);
        Program::start(command)
    }

    /// Makes an image of busybox alone; no registry is asked.
    #[track_caller]
    fn make_image(&self, engine: &Engine) {
        let root = self.path("image");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy(busybox(), root.join("bin/busybox")).unwrap();
        let archive = self.path("image.tar").display().to_string();
        self.host(&format!("tar -C {} -cf {archive} bin", root.display())).ok();
        self.docker_at(engine.socket(), &["import", &archive, IMAGE]).end().ok();
    }
}

impl Engine {
    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Process 1 of its namespace, as the machine knows it.
    fn first(&self) -> Vec<Pid> {
        let pid = self.program.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Asked to, it would wait for its containers. Its end is that of everything in its
        // namespace, and then of `unshare`, which has waited for it.
        let first = self.first();
        for pid in first.iter().copied() {
            let _ = kill_process(pid, Signal::KILL);
        }
        if first.is_empty() {
            self.program.signal(Signal::KILL);
        }
        let ended = until(GRACE, || self.program.has_ended().then_some(()));
        let groups = groups(&self.group);
        let removed = until(GRACE, || groups.iter().all(|group| remove(group)).then_some(()));
        if !std::thread::panicking() {
            assert!(ended.is_some(), "the engine does not end");
            assert!(removed.is_some(), "control groups are left: {groups:?}");
        }
    }
}

/// Docker's CLI: the one that came with the engine, which may not be the first in the path.
pub fn cli() -> &'static str {
    let packaged = "/usr/bin/docker";
    if Path::new(packaged).exists() { packaged } else { "docker" }
}

fn busybox() -> PathBuf {
    let folders = super::gate::PATH.split(':').map(|folder| Path::new(folder).join("busybox"));
    folders.into_iter().find(|path| path.exists()).unwrap()
}

/// The folders of a control group: one with version 2, one for each controller with version 1.
fn groups(name: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = below.chain([top.to_path_buf()]).map(|folder| folder.join(name));
    all.filter(|folder| folder.exists()).collect()
}

/// Removes a control group and those in it; whether it is gone.
fn remove(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            let _ = remove(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

impl World {
    /// Starts the IPAM plugin `custom-ipam`, which gives addresses as they come.
    #[track_caller]
    pub fn ipam_plugin(&self) -> Program {
        let mut command = self.command("python3");
        command.args(["-c", PLUGIN]);
        let mut program = Program::start(command);
        program.wait_for("ready");
        program
    }
}

/// As little as an IPAM plugin can be: any pool, and its addresses one after the other.
const PLUGIN: &str = r#"
import http.server, ipaddress, json, os, socketserver
NEXT = {}
def answer(path, asked):
    if path == "/Plugin.Activate":
        return {"Implements": ["IpamDriver"]}
    if path == "/IpamDriver.GetDefaultAddressSpaces":
        return {"LocalDefaultAddressSpace": "local", "GlobalDefaultAddressSpace": "global"}
    if path == "/IpamDriver.RequestPool":
        pool = asked.get("Pool") or "192.168.99.0/24"
        NEXT[pool] = ipaddress.ip_network(pool).hosts()
        return {"PoolID": pool, "Pool": pool, "Data": {}}
    if path == "/IpamDriver.RequestAddress":
        pool = ipaddress.ip_network(asked["PoolID"])
        address = asked.get("Address") or next(NEXT[asked["PoolID"]])
        return {"Address": "%s/%d" % (address, pool.prefixlen), "Data": {}}
    return {}
class Plugin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = json.dumps(answer(self.path, json.loads(body or b"{}"))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def address_string(self):
        return "engine"
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
server = Server(os.environ["HOME"] + "/custom-ipam.sock", Plugin)
print("ready", flush=True)
server.serve_forever()
"#;
