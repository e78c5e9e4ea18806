//! The command line: arguments in, exit code out.
//!
//! Every verb is a client of the API. Errors are one line, `weft: what failed: why`, and where there
//! is a remedy a second one, `help: …`; the exit code is then 1, and 2 for wrong usage. `run` and
//! `exec` end with the program's own code.

pub mod args;
mod demo;
mod endpoint;
mod manual;
pub mod network;
mod print;
mod template;
mod verbs;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::api::client::{Client, ClientError};
use args::{Arguments, Command};

/// A failure on its way to the terminal.
#[derive(Debug)]
pub struct Complaint {
    text: String,
    help: Option<String>,
    code: u8,
}

impl Complaint {
    /// A failure with all its causes.
    pub fn new(error: &dyn Error) -> Self {
        Self { text: chain(error), help: None, code: 1 }
    }

    /// A failure in one's own words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), help: None, code: 1 }
    }

    /// Wrong usage in one's own words.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), help: None, code: 2 }
    }

    /// With a remedy, where there is one.
    #[must_use]
    pub fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// With an exit code of its own.
    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// What is printed.
    pub fn printed(&self) -> String {
        // The errors of a file come ready, several lines with carets.
        let mut text = if self.text.starts_with("weft: ") {
            self.text.trim_end().to_owned()
        } else {
            format!("weft: {}", self.text)
        };
        if let Some(help) = &self.help {
            text.push_str(&format!("\nhelp: {help}"));
        }
        text.push('\n');
        text
    }
}

impl From<ClientError> for Complaint {
    fn from(error: ClientError) -> Self {
        let help = error.help();
        Self::new(&error).help(help)
    }
}

/// The program: reads the arguments, does what they say.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Where nobody reads, nobody misses it.
            let _ = error.print();
            let asked = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
            return ExitCode::from(if asked.contains(&error.kind()) { 0 } else { 2 });
        }
    };
    start_logging(&arguments.command);
    let socket = arguments.socket.unwrap_or_else(crate::appliance::default_socket);
    match dispatch(arguments.command, socket) {
        Ok(code) => code,
        Err(complaint) => {
            eprint!("{}", complaint.printed());
            ExitCode::from(complaint.code)
        }
    }
}

fn dispatch(command: Command, socket: PathBuf) -> Result<ExitCode, Complaint> {
    let socket = absolute(socket);
    let client = Client::new(&socket);
    match command {
        Command::Run(run) => endpoint::run(run, client),
        Command::Attach(attach) => endpoint::attach(attach, &client),
        Command::Exec(exec) => endpoint::exec(&exec, &client),
        Command::Up(up) => verbs::up(&up, &socket),
        Command::Check(check) => verbs::check(&check.file),
        Command::Stop(stop) => verbs::stop(&stop, &client),
        Command::Reload => verbs::reload(&client),
        Command::Down(down) => verbs::down(&down, &client),
        Command::Ps(list) => print::sandboxes(list.format, &client),
        Command::Status(list) => print::status(list.format, &client),
        Command::Show(show) => print::table(show.table, show.list.format, &client),
        Command::Network(network) => network::network(network.verb, &client),
        Command::Completions(shell) => manual::completions(shell.shell),
        Command::Schema => manual::schema(),
        Command::Man(man) => manual::man(man.folder.as_deref()),
        Command::Demo => demo::demo(),
        Command::DemoPeer(peer) => demo::peer::run(&peer.errand),
    }
}

/// A path that still leads to the same place from another folder, as in the background.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Logs go to standard error: an appliance's from `info` up, everything else's from `warn` up,
/// unless `WEFT_LOG` says otherwise.
fn start_logging(command: &Command) {
    let level = if matches!(command, Command::Up(_)) { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEFT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
}

/// An error and its causes in one line, each without the number that Rust appends.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    without_numbers(&text)
}

fn without_numbers(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        kept.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    kept.push_str(rest);
    kept
}

/// A signal by its name, with or without `SIG`, or its number.
pub(crate) fn signal_number(text: &str) -> Result<i32, String> {
    const NAMES: [(&str, i32); 8] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    named.or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number))).ok_or_else(
        || {
            "a signal is a number from 1 to 64, or HUP, INT, QUIT, KILL, USR1, USR2, TERM or CONT"
                .into()
        },
    )
}

/// Prints a line that somebody may no longer be reading.
pub(crate) fn say(line: &str) {
    // `weft ps | head` closes the pipe; that is no failure of ours.
    let _ = writeln!(std::io::stdout(), "{line}");
}
