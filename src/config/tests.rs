use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::cnm::{Attach, Driver, Ipam, IpamDriver, NetworkOptions};

const EVERY_KEY: &str = include_str!("../../config/weft.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("weft.toml")).map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_says_what_the_defaults_are() {
    assert_eq!(parse(""), Ok(Config::default()));
    assert_eq!(parse("\u{feff}# only a comment\r\n"), Ok(Config::default()));
    assert_eq!(parse("[networks]\n[endpoints]\n[ipam]\n[appliance]\n"), Ok(Config::default()));
}

#[test]
fn a_file_is_read_into_what_it_declares() {
    let config = parse(EVERY_KEY).unwrap();
    assert_eq!(config.appliance.name.as_deref(), Some("laptop"));
    assert_eq!(config.appliance.workers, Some(2));
    assert_eq!(config.default_address_pools.entries().len(), 2);
    assert_eq!(config.store, StorePlace::Folder(PathBuf::from("/var/lib/weft")));

    let blue = &config.declared.networks["blue"];
    assert_eq!((blue.driver, blue.internal, blue.ipv6), (Driver::Bridge, false, true));
    assert_eq!((blue.attachable, blue.ipv4, blue.ipam.clone()), (false, true, Ipam::default()));
    let lab = &config.declared.networks["lab"].ipam;
    assert_eq!(lab.driver, IpamDriver::Remote("custom-ipam".to_owned()));
    assert_eq!(lab.options["tenant"], "lab");
    let options = [("storm-control", "1000/s")];
    assert_eq!(blue.options, NetworkOptions::parse(options).unwrap());
    let [v4, v6] = blue.subnets.as_slice() else {
        panic!("{:?}", blue.subnets);
    };
    assert_eq!(v4.subnet, Some("192.168.10.0/24".parse().unwrap()));
    assert_eq!(v4.gateway, Some("192.168.10.1".parse().unwrap()));
    assert_eq!(v4.ip_range, Some("192.168.10.128/25".parse().unwrap()));
    assert_eq!(v4.aux["printer"], "192.168.10.9".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(v6.gateway, Some("fd00:10::1".parse().unwrap()));
    assert_eq!((v6.ip_range, v6.aux.len()), (None, 0));

    let web = &config.declared.endpoints["web"];
    assert_eq!(web.network, "blue");
    assert_eq!(web.ip, Some("192.168.10.10".parse().unwrap()));
    assert_eq!(web.ip6, Some("fd00:10::10".parse().unwrap()));
    assert_eq!(web.mac, Some("02:00:5e:10:00:10".parse().unwrap()));
    assert_eq!(web.aliases, ["www"]);
    assert_eq!(web.ifname.as_deref(), Some("eth0"));
    let command = ["python3", "-m", "http.server", "80"].map(str::to_owned).to_vec();
    assert_eq!(web.attach, Attach::Command(command));
    let attached =
        ["db", "uplink", "vm"].map(|name| config.declared.endpoints[name].attach.clone());
    let expected = [
        Attach::Netns(PathBuf::from("/run/netns/db")),
        Attach::Tap("weft0".to_owned()),
        Attach::Qemu(PathBuf::from("vm.sock")),
    ];
    assert_eq!(attached, expected);
}

#[test]
fn line_endings_change_nothing() {
    assert_eq!(parse(&EVERY_KEY.replace('\n', "\r\n")), parse(EVERY_KEY));
    assert_eq!(parse(&format!("\u{feff}{EVERY_KEY}")), parse(EVERY_KEY));
}

#[test]
fn a_network_that_names_its_subnet_has_it_whatever_others_take() {
    // "a" takes the first default pool, which is the one that "b" names.
    let text = "[networks.a]\n[networks.b]\nsubnets = [\"172.17.0.0/16\"]\n\
                [endpoints.e]\nnetwork = \"bridge\"\ncommand = [\"true\"]\n";
    assert!(parse(text).is_ok());
    // "a" joins first and takes what is free, which is not what "b" insists on.
    let text = "[networks.n]\nsubnets = [\"10.0.0.0/24\"]\n\
                [endpoints.a]\nnetwork = \"n\"\ncommand = [\"true\"]\n\
                [endpoints.b]\nnetwork = \"n\"\nip = \"10.0.0.2\"\ncommand = [\"true\"]\n";
    assert!(parse(text).is_ok());
}

#[test]
fn who_gives_addresses_is_a_word_or_a_table() {
    let ipam = |value: &str| {
        let config = parse(&format!("[networks.n]\nipam = {value}")).unwrap();
        config.declared.networks["n"].ipam.clone()
    };
    let null = |options: &[(&str, &str)]| Ipam {
        driver: IpamDriver::Null,
        options: options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    };
    assert_eq!(ipam("'default'"), Ipam::default());
    assert_eq!(ipam("{}"), Ipam::default());
    assert_eq!(ipam("'null'"), null(&[]));
    assert_eq!(ipam("{ driver = 'null', options = { a = '1' } }"), null(&[("a", "1")]));
}

#[test]
fn what_is_wrong_is_known_by_line_and_column() {
    let text = "[networks.blue]\n\tdriver = 'bridge'\n\tlabels = { 'ä' = 'ö', 'ü' = 7 }\n";
    let Err(ConfigError::Invalid(report)) = Config::parse(text, Path::new("x")) else {
        panic!("it parses");
    };
    let [finding] = report.findings() else {
        panic!("{report}");
    };
    assert_eq!((finding.line, finding.column), (3, 30));
    assert_eq!(report.path(), Path::new("x"));
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    let folder = Folder::new();
    let large = folder.0.join("large.toml");
    fs::write(&large, vec![b'#'; MAX_OCTETS as usize + 1]).unwrap();
    let octets = folder.0.join("octets.toml");
    fs::write(&octets, b"# gr\xc3\xbcn\n# \xc3\xbc\xff").unwrap();
    let cases = [
        (folder.0.join("missing.toml"), ": there is no such file"),
        (folder.0.clone(), ": this is a directory; name the file in it"),
        (large, ": larger than 1 MiB, which no configuration is"),
        (octets, ":2:4: octet 0xff is not UTF-8; save the file as UTF-8"),
    ];
    for (path, expected) in cases {
        let error = Config::load(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("weft: {}{expected}", path.display()));
    }
    let exactly = folder.0.join("exactly.toml");
    fs::write(&exactly, vec![b'#'; MAX_OCTETS as usize]).unwrap();
    assert_eq!(Config::load(&exactly).unwrap(), Config::default());
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = "[networks.blue]\ndriver = \"\\u001b[2J\" \u{1b}[2J\n\"\\u001b\" = 1";
    let shown = parse(text).unwrap_err();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");
    let shown = parse("\"\\u001b\\n\" = 1\n[networks]\n\"a\\n\" = {}\n").unwrap_err();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");
}

proptest! {
    #[test]
    fn a_damaged_file_is_taken_or_refused_and_nothing_else(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, ".{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = EVERY_KEY.chars().collect();
        for (at, length, put) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(shown) = parse(&text) {
            prop_assert!(shown.starts_with("weft: weft.toml:"), "{shown}");
            prop_assert!(shown.contains("\nhelp: "), "{shown}");
        }
    }
}

/// A folder that goes when the test ends, however it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("weft-config-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
