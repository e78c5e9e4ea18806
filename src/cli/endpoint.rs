//! `run`, `attach` and `exec`: the verbs that make or enter a network stack.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::args::{Attach, Exec, Run};
use super::{Complaint, say};
use crate::api::client::{Client, escaped};
use crate::api::shapes::{
    Assigned, AttachRequest, EndpointRequest, Kind, SandboxLine, shown_command,
};
use crate::background::{self, Ready};
use crate::control::managed::end_with_parent;
use crate::control::sandboxes::DEFAULT_NETWORK;
use crate::sandbox::attach::Target;
use crate::sandbox::{attach, exec, run};

/// Where `ip netns add` puts namespaces.
const NAMED_NAMESPACES: &str = "/run/netns";
/// How long a sandbox may take to be set up, for somebody who wants to enter it.
const SET_UP: Duration = Duration::from_secs(5);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn run(run: Run, client: Client) -> Result<ExitCode, Complaint> {
    let ready = prepare(run.detach, run.declared)?;
    let networks =
        if run.networks.is_empty() { vec![DEFAULT_NETWORK.to_owned()] } else { run.networks };
    let mut endpoints =
        networks.iter().map(|text| endpoint(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = endpoints.first_mut() {
        first.publish = run.publish;
    }
    let words: Vec<String> =
        run.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let request = AttachRequest {
        sandbox: None,
        name: run.name,
        kind: Kind::Run,
        pid: std::process::id(),
        command: shown_command(&words),
        endpoints,
        declared: run.declared.is_some(),
    };
    let options = run::Options {
        client,
        request,
        as_root: run.root,
        command: run.command,
        start: run.declared.is_none(),
    };
    let mut ready = Some(ready);
    let code = run::run(options, |name| {
        if let Some(ready) = ready.take() {
            ready.done(name);
        }
    });
    match code {
        Ok(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Err(error) => fail(Complaint::new(&error).help(error.help()).code(error.code()), ready),
    }
}

pub(super) fn attach(arguments: Attach, client: &Client) -> Result<ExitCode, Complaint> {
    let ready = prepare(arguments.detach, arguments.declared)?;
    let target = target(&arguments)?;
    let (kind, path) = match &target {
        Target::Netns(path) => (Kind::Netns, path.display().to_string()),
        Target::Pid(pid) => (Kind::Netns, format!("process {pid}")),
        Target::Tap(name) => (Kind::Tap, name.clone()),
        Target::Qemu(path) => (Kind::Qemu, path.display().to_string()),
    };
    let name = arguments.name.or_else(|| match &target {
        Target::Netns(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
        Target::Tap(name) => Some(name.clone()),
        Target::Pid(_) | Target::Qemu(_) => None,
    });
    let mut wanted = endpoint(&arguments.network)?;
    wanted.publish = arguments.publish;
    if let Target::Tap(name) = &target {
        wanted.ifname = Some(name.clone());
    }
    let request = AttachRequest {
        sandbox: None,
        name,
        kind,
        pid: std::process::id(),
        command: vec![path],
        endpoints: vec![wanted],
        declared: arguments.declared.is_some(),
    };
    let mut ready = Some(ready);
    let start = arguments.declared.is_none();
    let quiet = !start || arguments.detach;
    let attached = attach::attach(client, &request, &target, start, |name, endpoint| {
        if !quiet {
            say(&format!("{name}: {}", described(&target, endpoint)));
        }
        if let Some(ready) = ready.take() {
            ready.done(name);
        }
    });
    match attached {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => fail(Complaint::new(&error).help(error.help()), ready),
    }
}

pub(super) fn exec(arguments: &Exec, client: &Client) -> Result<ExitCode, Complaint> {
    let line = set_up(&arguments.name, client)?;
    let Some(pid) = line.pid else {
        let text = format!("{} runs no programs of weft's", line.name);
        let help = match line.kind {
            Kind::Netns => Some("enter the namespace with `ip netns exec` or `nsenter`".to_owned()),
            Kind::Run | Kind::Tap | Kind::Qemu => None,
        };
        return Err(Complaint::text(text).help(help));
    };
    let code = exec::exec(pid, &arguments.command).map_err(|error| Complaint::new(&error))?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// A sandbox, once it is set up where it is being set up at this moment.
fn set_up(name: &str, client: &Client) -> Result<SandboxLine, Complaint> {
    let patience = Instant::now() + SET_UP;
    loop {
        let line: SandboxLine = client.get(&format!("/weft/v1/sandboxes/{}", escaped(name)))?;
        let comes = line.kind == Kind::Run && line.pid.is_none();
        if !comes || Instant::now() >= patience {
            return Ok(line);
        }
        std::thread::sleep(LOOK);
    }
}

/// What one `--network` says.
pub(super) fn endpoint(text: &str) -> Result<EndpointRequest, Complaint> {
    let mut parts = text.split(',');
    let network = parts.next().unwrap_or_default();
    if network.is_empty() {
        return Err(Complaint::usage(format!("--network {text:?} names no network")));
    }
    let mut endpoint = EndpointRequest { network: network.to_owned(), ..Default::default() };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let bad = |what: &str| Complaint::usage(format!("--network: {value:?} is no {what}"));
        match key {
            "ip" => endpoint.ip = Some(value.parse().map_err(|_| bad("IPv4 address"))?),
            "ip6" => endpoint.ip6 = Some(value.parse().map_err(|_| bad("IPv6 address"))?),
            "mac" | "mac-address" => endpoint.mac = Some(value.to_owned()),
            "alias" => endpoint.aliases.push(value.to_owned()),
            "ifname" => endpoint.ifname = Some(value.to_owned()),
            _ => {
                let text = format!("--network: unknown key {key:?}");
                let help = "the keys are ip, ip6, mac, alias and ifname".to_owned();
                return Err(Complaint::usage(text).help(Some(help)));
            }
        }
    }
    Ok(endpoint)
}

fn prepare(detach: bool, declared: Option<u32>) -> Result<Ready, Complaint> {
    if let Some(appliance) = declared
        && !end_with_parent(appliance)
    {
        return Err(Complaint::text("the appliance that declares this endpoint has gone"));
    }
    if !detach {
        return Ok(Ready::nobody());
    }
    background::detach().map_err(|error| Complaint::new(&error))
}

/// Tells whoever waits that it failed; in the foreground that is the caller.
fn fail(complaint: Complaint, ready: Option<Ready>) -> Result<ExitCode, Complaint> {
    match ready {
        Some(ready) if ready.is_awaited() => {
            ready.failed(&complaint.printed());
            Ok(ExitCode::FAILURE)
        }
        _ => Err(complaint),
    }
}

fn target(arguments: &Attach) -> Result<Target, Complaint> {
    match (&arguments.netns, arguments.pid, &arguments.tap, &arguments.qemu) {
        (Some(path), ..) => Ok(Target::Netns(namespace(path))),
        (_, Some(pid), ..) => Ok(Target::Pid(pid)),
        (_, _, Some(tap), _) => Ok(Target::Tap(tap.clone())),
        (.., Some(qemu)) => Ok(Target::Qemu(qemu.clone())),
        (None, None, None, None) => {
            Err(Complaint::usage("one of --netns, --pid, --tap and --qemu is needed"))
        }
    }
}

/// A path as it is; a plain name as `ip netns` means it.
fn namespace(path: &Path) -> PathBuf {
    let named = Path::new(NAMED_NAMESPACES).join(path);
    if path.components().count() == 1 && !path.exists() && named.exists() {
        named
    } else {
        path.to_owned()
    }
}

/// What somebody who attached something wants to read.
fn described(target: &Target, endpoint: &Assigned) -> String {
    let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(" ");
    match target {
        Target::Netns(_) | Target::Pid(_) | Target::Tap(_) => {
            format!("{} {} on network {}", endpoint.ifname, addresses, endpoint.network)
        }
        Target::Qemu(path) => format!(
            "{addresses} on network {}, for:\n  qemu-system-x86_64 … -netdev \
             stream,id=weft,server=off,addr.type=unix,addr.path={} -device \
             virtio-net-pci,netdev=weft,mac={}",
            endpoint.network,
            path.display(),
            endpoint.mac
        ),
    }
}
