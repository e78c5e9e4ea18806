//! Programs that tests start: run to their end, or kept and talked to.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::gate::locked;
use super::wait::{eventually, until};
use super::world::World;

/// How long a program may take to its end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// What a program that ended had said.
#[derive(Debug)]
pub struct Said {
    /// The line that started it.
    #[expect(dead_code, reason = "shown when an assertion fails")]
    pub line: String,
    /// Its exit code, or 128 and the signal's number.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Its standard output, once it is sure that it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }

    /// Sees that it failed as weft fails: with `code`, one line that says all of `words`, and a
    /// `help:` line when `help` is something.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str], help: &str) {
        assert_eq!(self.code, code, "{self:#?}");
        let lines: Vec<&str> = self.err.lines().collect();
        assert!(lines.first().is_some_and(|line| line.starts_with("weft: ")), "{self:#?}");
        for word in words {
            assert!(lines[0].contains(word), "no {word:?} in {self:#?}");
        }
        if help.is_empty() {
            assert_eq!(lines.len(), 1, "{self:#?}");
        } else {
            assert_eq!(lines.len(), 2, "{self:#?}");
            assert!(lines[1].starts_with("help: ") && lines[1].contains(help), "{self:#?}");
        }
    }
}

/// A program that runs, with what it has said so far.
#[derive(Debug)]
pub struct Program {
    line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts a program.
    pub fn start(mut command: Command) -> Self {
        let line = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let (out, err) = (Arc::default(), Arc::default());
        let readers = vec![
            gather(child.stdout.take().unwrap(), &out),
            gather(child.stderr.take().unwrap(), &err),
        ];
        let stdin = child.stdin.take();
        Self { line, child, stdin, out, err, readers, status: None }
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What it has printed.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&locked(&self.out)).into_owned()
    }

    /// What it has printed, octet by octet.
    pub fn octets(&self) -> Vec<u8> {
        locked(&self.out).clone()
    }

    /// How many octets it has printed.
    pub fn printed(&self) -> usize {
        locked(&self.out).len()
    }

    /// What it has printed to its standard error.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&locked(&self.err)).into_owned()
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let found = until(PATIENCE, || {
            (self.out().contains(text) || self.has_ended()).then(|| self.out().contains(text))
        });
        let (out, err) = (self.out(), self.err());
        assert_eq!(found, Some(true), "no {text:?} from {}\n{out}\n{err}", self.line);
    }

    /// Takes its standard input, to write from another thread.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            let _ = kill_process(Pid::from_raw(self.pid()).unwrap(), signal);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Said {
        drop(self.stdin.take());
        if until(PATIENCE, || self.has_ended().then_some(())).is_none() {
            panic!("does not end: {}\n{}\n{}", self.line, self.out(), self.err());
        }
        let readers = &mut self.readers;
        // Somebody that it started may hold its output open.
        let _ = until(GRACE, || readers.iter().all(JoinHandle::is_finished).then_some(()));
        Said { line: self.line.clone(), code: code(self.status), out: self.out(), err: self.err() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            if self.has_ended() {
                return;
            }
            self.signal(signal);
            let _ = until(GRACE, || self.has_ended().then_some(()));
        }
    }
}

fn code(status: Option<ExitStatus>) -> i32 {
    let status = status.unwrap();
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap()
}

fn gather(mut from: impl Read + Send + 'static, to: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let to = Arc::clone(to);
    std::thread::spawn(move || {
        let mut octets = [0; 65_536];
        while let Ok(len @ 1..) = from.read(&mut octets) {
            locked(&to).extend_from_slice(&octets[..len]);
        }
    })
}

impl World {
    /// Runs weft to its end.
    #[track_caller]
    pub fn weft(&self, line: &str) -> Said {
        Program::start(self.weft_command(line)).end()
    }

    /// Starts weft.
    pub fn start(&self, line: &str) -> Program {
        Program::start(self.weft_command(line))
    }

    /// Runs a program of the host's, as the test's user, to its end.
    #[track_caller]
    pub fn host(&self, line: &str) -> Said {
        let words = super::world::words(line);
        let mut command = self.command(&words[0]);
        command.args(&words[1..]);
        Program::start(command).end()
    }

    /// Starts a sandbox that does nothing until it is stopped; `options` are those of `weft run`.
    #[track_caller]
    pub fn sandbox(&self, name: &str, options: &str) -> Program {
        self.program(name, options, "echo up; exec sleep infinity", "up")
    }

    /// Starts a sandbox with a shell script in it and waits until it has printed `ready`.
    #[track_caller]
    pub fn program(&self, name: &str, options: &str, script: &str, ready: &str) -> Program {
        let mut command = self.weft_command(&format!("run --name {name} {options} -- bash -c"));
        command.arg(script);
        let mut program = Program::start(command);
        program.wait_for(ready);
        program
    }

    /// Runs a shell script in a sandbox to its end.
    #[track_caller]
    pub fn exec(&self, name: &str, script: &str) -> Said {
        let mut command = self.weft_command(&format!("exec {name} -- bash -c"));
        command.arg(script);
        Program::start(command).end()
    }

    /// Waits until a server in a sandbox listens on a TCP port.
    #[track_caller]
    pub fn wait_for_listener(&self, name: &str, port: u16) {
        let what = format!("{name} listens on port {port}");
        let script = format!("ss -Hltn 'sport = :{port}'");
        eventually(&what, || (!self.exec(name, &script).ok().is_empty()).then_some(()));
    }
}
