//! The grammar of `weft network`: that of `docker network`.

use clap::{Args, Subcommand};

/// `weft network`
#[derive(Debug, Args)]
pub struct Network {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a network
    Create(Box<Create>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show all there is to know of networks, as JSON
    Inspect(Inspect),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Put a running sandbox on one more network
    Connect(Connect),
    /// Take a running sandbox off a network
    Disconnect(Disconnect),
    /// Remove all networks that somebody made and nobody is in
    Prune(Prune),
}

/// `weft network create`
#[derive(Debug, Args)]
pub struct Create {
    /// The network's name
    pub network: String,
    /// The driver: bridge, host or none
    #[arg(short, long, default_value = "bridge")]
    pub driver: String,
    /// A subnet, as ADDRESS/PREFIX
    #[arg(long = "subnet", value_name = "SUBNET")]
    pub subnets: Vec<String>,
    /// The part of a subnet to give addresses from
    #[arg(long = "ip-range", value_name = "SUBNET")]
    pub ip_ranges: Vec<String>,
    /// The gateway's address in a subnet
    #[arg(long = "gateway", value_name = "ADDRESS")]
    pub gateways: Vec<String>,
    /// An address never to give, with the name of what has it
    #[arg(long = "aux-address", value_name = "NAME=ADDRESS")]
    pub aux_addresses: Vec<String>,
    /// Who gives addresses: default, or null for nobody
    #[arg(long, default_value = "default", value_name = "DRIVER")]
    pub ipam_driver: String,
    /// An option for the IPAM driver
    #[arg(long = "ipam-opt", value_name = "KEY=VALUE")]
    pub ipam_opts: Vec<String>,
    /// Whether it has IPv4
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub ipv4: Option<bool>,
    /// Whether it has IPv6
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub ipv6: Option<bool>,
    /// Keep it from the outside
    #[arg(long)]
    pub internal: bool,
    /// Note that anybody may join
    #[arg(long)]
    pub attachable: bool,
    /// The scope: local
    #[arg(long, default_value = "", hide_default_value = true)]
    pub scope: String,
    /// An option for the driver
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    pub opts: Vec<String>,
    /// A label
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    pub labels: Vec<String>,
}

/// `weft network ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// Which: name=…, id=…, driver=…, type=custom|builtin, scope=…, label=…, dangling=true|false
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// How: table, json, or a template such as '{{.ID}} {{.Name}}'
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Print whole ids
    #[arg(long)]
    pub no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `weft network inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// How: json, or a template such as '{{.Id}}' or '{{json .IPAM}}'
    #[arg(short, long, default_value = "")]
    pub format: String,
    /// For Docker's sake; there is nothing more to tell
    #[arg(short, long, hide = true)]
    pub verbose: bool,
}

/// `weft network rm`
#[derive(Debug, Args)]
pub struct Rm {
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// Do not mind networks that are not there
    #[arg(short, long)]
    pub force: bool,
}

/// `weft network connect`
#[derive(Debug, Args)]
pub struct Connect {
    /// The network's name or id
    pub network: String,
    /// The sandbox's name or id
    #[arg(value_name = "SANDBOX")]
    pub container: String,
    /// Its IPv4 address there
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub ip: String,
    /// Its IPv6 address there
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub ip6: String,
    /// Its MAC address there
    #[arg(long, value_name = "MAC", default_value = "", hide_default_value = true)]
    pub mac_address: String,
    /// A further name of it there
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// An option for the driver
    #[arg(long = "driver-opt", value_name = "KEY=VALUE")]
    pub driver_opts: Vec<String>,
}

/// `weft network disconnect`
#[derive(Debug, Args)]
pub struct Disconnect {
    /// The network's name or id
    pub network: String,
    /// The sandbox's name or id
    #[arg(value_name = "SANDBOX")]
    pub container: String,
    /// For Docker's sake; nobody has to agree
    #[arg(short, long)]
    pub force: bool,
}

/// `weft network prune`
#[derive(Debug, Args)]
pub struct Prune {
    /// Which: until=TIME, label=…, label!=…
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}
