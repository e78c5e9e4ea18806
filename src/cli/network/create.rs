//! `weft network create`: flags become the request that Docker's CLI would send.

use std::net::IpAddr;
use std::process::ExitCode;

use ipnetwork::IpNetwork;

use super::args::Create;
use super::pairs;
use crate::api::client::Client;
use crate::api::docker::shapes::{CreateNetwork, Created, Ipam, IpamConfig};
use crate::cli::{Complaint, say};

pub(super) fn create(create: Create, client: &Client) -> Result<ExitCode, Complaint> {
    let request = request(create)?;
    let Created { id, warning } = client.post("/networks/create", &request)?;
    if !warning.is_empty() {
        eprintln!("weft: {warning}");
    }
    say(&id);
    Ok(ExitCode::SUCCESS)
}

fn request(create: Create) -> Result<CreateNetwork, Complaint> {
    let config = config(&create)?;
    Ok(CreateNetwork {
        name: create.network,
        driver: create.driver,
        scope: create.scope,
        internal: create.internal,
        attachable: create.attachable,
        ipam: Ipam { driver: create.ipam_driver, options: pairs(&create.ipam_opts), config },
        enable_ipv4: create.ipv4,
        enable_ipv6: create.ipv6,
        options: pairs(&create.opts),
        labels: pairs(&create.labels),
        ..CreateNetwork::default()
    })
}

/// The subnets, each with the ip-range, gateway and auxiliary addresses that lie in it.
fn config(create: &Create) -> Result<Vec<IpamConfig>, Complaint> {
    if create.subnets.len() < create.ip_ranges.len().max(create.gateways.len()) {
        return Err(Complaint::text("every ip-range or gateway must have a corresponding subnet"));
    }
    let mut config: Vec<IpamConfig> = create
        .subnets
        .iter()
        .map(|subnet| IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() })
        .collect();
    for range in &create.ip_ranges {
        let own = find(&mut config, range, "range")?;
        fill(&mut own.ip_range, range, "ip ranges")?;
    }
    for gateway in &create.gateways {
        let own = find(&mut config, gateway, "gateway")?;
        fill(&mut own.gateway, gateway, "gateways")?;
    }
    for aux in &create.aux_addresses {
        let Some((name, address)) = aux.split_once('=') else {
            return Err(Complaint::usage(format!("--aux-address {aux:?} is not NAME=ADDRESS")));
        };
        let own = find(&mut config, address, "aux-address")?;
        own.auxiliary_addresses.insert(name.to_owned(), address.to_owned());
    }
    Ok(config)
}

fn find<'a>(
    config: &'a mut [IpamConfig],
    address: &str,
    what: &str,
) -> Result<&'a mut IpamConfig, Complaint> {
    let ip = address.split('/').next().and_then(|ip| ip.parse::<IpAddr>().ok());
    let is_in = |own: &&mut IpamConfig| {
        let subnet = own.subnet.parse::<IpNetwork>();
        subnet.is_ok_and(|subnet| ip.is_some_and(|ip| subnet.contains(ip)))
    };
    let found = config.iter_mut().find(is_in);
    found.ok_or_else(|| Complaint::text(format!("no matching subnet for {what} {address}")))
}

fn fill(place: &mut String, text: &str, what: &str) -> Result<(), Complaint> {
    if !place.is_empty() {
        let text = format!("cannot configure multiple {what} ({text}, {place}) on the same subnet");
        return Err(Complaint::text(text));
    }
    text.clone_into(place);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Arguments, Command};
    use crate::cli::network::args::Verb;

    fn read(line: &str) -> Result<CreateNetwork, Complaint> {
        let line = format!("weft network create {line}");
        let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Network(network) = arguments.command else { panic!("{line}") };
        let Verb::Create(create) = network.verb else { panic!("{line}") };
        request(*create)
    }

    #[test]
    fn what_lies_in_a_subnet_goes_with_it() {
        let request = read(
            "--subnet 10.0.0.0/24 --subnet fd00::/64 --gateway fd00::9 --ip-range 10.0.0.128/25 \
             --aux-address printer=10.0.0.7 --ipv6 -o mtu=1400 --label a=b --label c -d bridge x",
        );
        let request = request.unwrap();
        let [four, six] = &request.ipam.config[..] else { panic!("{request:?}") };
        assert_eq!((four.ip_range.as_str(), four.gateway.as_str()), ("10.0.0.128/25", ""));
        assert_eq!(four.auxiliary_addresses["printer"], "10.0.0.7");
        assert_eq!((six.ip_range.as_str(), six.gateway.as_str()), ("", "fd00::9"));
        assert_eq!((request.enable_ipv4, request.enable_ipv6), (None, Some(true)));
        assert_eq!(request.options["mtu"], "1400");
        assert_eq!((&*request.labels["a"], &*request.labels["c"]), ("b", ""));
        assert_eq!(read("--ipv4=false --ipv6 x").unwrap().enable_ipv4, Some(false));
    }

    #[test]
    fn what_lies_in_no_subnet_is_refused_in_dockers_words() {
        let cases = [
            ("--gateway 10.0.0.1 x", "every ip-range or gateway must have a corresponding subnet"),
            (
                "--subnet 10.0.0.0/24 --gateway 10.1.0.1 x",
                "no matching subnet for gateway 10.1.0.1",
            ),
            ("--aux-address a=10.1.0.1 x", "no matching subnet for aux-address 10.1.0.1"),
            (
                "--subnet 10.0.0.0/24 --subnet 10.1.0.0/24 --gateway 10.0.0.1 --gateway 10.0.0.2 x",
                "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) on the same subnet",
            ),
        ];
        for (line, words) in cases {
            let printed = read(line).unwrap_err().printed();
            assert_eq!(printed, format!("weft: {words}\n"), "{line}");
        }
    }
}
