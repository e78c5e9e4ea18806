//! The command line's grammar.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

pub use super::network::args::Network;

/// How a network is named together with what is wanted there.
const NETWORK_GRAMMAR: &str = "NET[,ip=ADDR][,ip6=ADDR][,mac=MAC][,alias=NAME][,ifname=NAME]";

/// Networks between programs, containers and virtual machines, in one process, without root.
#[derive(Debug, Parser)]
#[command(name = "weft", version, max_term_width = 100, subcommand_required = true)]
pub struct Arguments {
    /// The appliance's API socket
    #[arg(long, global = true, env = "WEFT_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program in a network stack of its own
    Run(Run),
    /// Give an existing namespace, TAP or virtual machine an endpoint, for as long as this runs
    Attach(Attach),
    /// Run one more program in a sandbox
    Exec(Exec),
    /// List sandboxes
    Ps(List),
    /// End a sandbox
    Stop(Stop),
    /// Run an appliance
    Up(Up),
    /// Check a configuration file without running it
    Check(Check),
    /// Apply what has changed in the appliance's configuration file
    Reload,
    /// End the appliance and its sandboxes
    Down(Down),
    /// Show the appliance at a glance
    Status(List),
    /// Show a live table
    Show(Show),
    /// Manage networks, with Docker's verbs and flags
    Network(Network),
    /// Show what weft does, and check that it works here
    Demo,
    /// Print a shell's completions
    Completions(Completions),
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Print the manual page, or write a page for each verb into a folder
    Man(Man),
    /// Run an errand in a sandbox of the demo's
    #[command(hide = true)]
    DemoPeer(DemoPeer),
}

/// `weft run`
#[derive(Debug, Args)]
pub struct Run {
    /// A network to be on, and how.
    #[arg(long = "network", visible_alias = "net", value_name = "NET[,…]", help = format!("A network to be on: {NETWORK_GRAMMAR}"))]
    pub networks: Vec<String>,
    /// The sandbox's name; neighbours find it by this name
    #[arg(long)]
    pub name: Option<String>,
    /// Let the program see itself as root
    #[arg(long)]
    pub root: bool,
    /// Go on in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Serve an endpoint of the file of the appliance that is this process
    #[arg(long, hide = true, value_name = "PROCESS")]
    pub declared: Option<u32>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `weft attach`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["netns", "pid", "tap", "qemu"])))]
pub struct Attach {
    /// The network, and how.
    #[arg(long, visible_alias = "net", value_name = "NET[,…]", default_value = "bridge", help = format!("The network: {NETWORK_GRAMMAR}"))]
    pub network: String,
    /// A network namespace, by path or by the name `ip netns` gave it
    #[arg(long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
    /// The network namespace of a process
    #[arg(long)]
    pub pid: Option<u32>,
    /// A TAP of this namespace, made when there is none
    #[arg(long, value_name = "NAME")]
    pub tap: Option<String>,
    /// A socket to make for `qemu -netdev stream`
    #[arg(long, value_name = "SOCKET")]
    pub qemu: Option<PathBuf>,
    /// The endpoint's name
    #[arg(long)]
    pub name: Option<String>,
    /// Go on in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Serve an endpoint of the file of the appliance that is this process
    #[arg(long, hide = true, value_name = "PROCESS")]
    pub declared: Option<u32>,
}

/// `weft exec`
#[derive(Debug, Args)]
pub struct Exec {
    /// The sandbox's name or id
    pub name: String,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `weft stop`
#[derive(Debug, Args)]
pub struct Stop {
    /// The sandboxes' names or ids
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Seconds to wait before killing it
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    pub time: u64,
    /// The signal to begin with, by name or number
    #[arg(short, long, default_value = "TERM", value_parser = crate::cli::signal_number)]
    pub signal: i32,
}

/// `weft up`
#[derive(Debug, Args)]
pub struct Up {
    /// The configuration file
    pub file: Option<PathBuf>,
    /// Go on in the background
    #[arg(short, long)]
    pub detach: bool,
    /// The folder that what exists is kept in, or "none" to keep nothing
    #[arg(long, env = "WEFT_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print what the file would bring about, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// End when there has been no sandbox for a few seconds
    #[arg(long, hide = true)]
    pub on_demand: bool,
}

/// `weft check`
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration file
    pub file: PathBuf,
}

/// `weft down`
#[derive(Debug, Args)]
pub struct Down {
    /// Leave sandboxes running that `weft run` and `weft attach` started; they find the next
    /// appliance by themselves
    #[arg(long)]
    pub keep: bool,
}

/// Options of everything that lists.
#[derive(Debug, Args)]
pub struct List {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `weft show`
#[derive(Debug, Args)]
pub struct Show {
    /// Which table
    #[arg(value_enum)]
    pub table: Table,
    /// How to print
    #[command(flatten)]
    pub list: List,
}

/// The tables of `weft show`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Table {
    /// Which port leads to which station
    Fdb,
    /// What passed each port
    Ports,
    /// What was dropped, and why
    Drops,
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns
    Table,
    /// One JSON value
    Json,
}

/// `weft completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `weft man`
#[derive(Debug, Args)]
pub struct Man {
    /// Where to write the pages
    pub folder: Option<PathBuf>,
}

/// `weft demo-peer`
#[derive(Debug, Args)]
pub struct DemoPeer {
    /// Which errand
    #[command(subcommand)]
    pub errand: Errand,
}

/// What `weft demo` has done inside its sandboxes.
#[derive(Debug, Subcommand)]
pub enum Errand {
    /// Take what is sent over TCP, until standard input ends
    Serve,
    /// Resolve a name
    Find {
        /// The name
        name: String,
    },
    /// Ping a station
    Ping {
        /// Its address
        station: Ipv4Addr,
    },
    /// Send over TCP for a second
    Send {
        /// Where to
        sink: SocketAddrV4,
    },
    /// Send from an address that is somebody else's
    Borrow {
        /// That address
        address: Ipv4Addr,
        /// Where to
        station: Ipv4Addr,
    },
}
