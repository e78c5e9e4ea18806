//! The commands that both sides are told, and why the answer to one may differ.

/// Some commands about one thing.
#[derive(Debug)]
pub(super) struct Part {
    /// What they are about.
    pub(super) title: &'static str,
    /// In this order.
    pub(super) steps: &'static [Step],
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// What is done.
    pub(super) act: Act,
    /// Whether the answers differ.
    pub(super) mark: Mark,
    /// Whether the engine is told before all others, since it takes 15 s to answer. It has to be
    /// something that the engine refuses whatever else there is.
    pub(super) is_early: bool,
    /// Whether the network that it names last is removed behind it, unseen, since only one of the
    /// two has made it.
    pub(super) is_undone: bool,
}

impl Step {
    const fn new(act: Act, mark: Mark) -> Self {
        Self { act, mark, is_early: false, is_undone: false }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// A line for the docker CLI.
    Docker(&'static str),
    /// A container, or a sandbox, that does nothing.
    Start { name: &'static str, network: &'static str, ip: &'static str },
    /// The end of it.
    Stop(&'static str),
}

/// Whether answers differ.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// They are the same.
    Same,
    /// They differ, and why.
    Differs(&'static str),
    /// They differ until weft has what the command asks for.
    Later,
    /// The engine's answer depends on the kernel, and how.
    Aside(&'static str),
}

const fn same(line: &'static str) -> Step {
    Step::new(Act::Docker(line), Mark::Same)
}

const fn differs(line: &'static str, why: &'static str) -> Step {
    Step::new(Act::Docker(line), Mark::Differs(why))
}

/// A network that only one of the two makes.
const fn apart(line: &'static str, why: &'static str) -> Step {
    Step { is_undone: true, ..differs(line, why) }
}

const fn later(line: &'static str) -> Step {
    Step::new(Act::Docker(line), Mark::Later)
}

const fn aside(line: &'static str, how: &'static str) -> Step {
    Step::new(Act::Docker(line), Mark::Aside(how))
}

const fn early(step: Step) -> Step {
    Step { is_early: true, ..step }
}

const fn start(name: &'static str, network: &'static str, ip: &'static str) -> Step {
    Step::new(Act::Start { name, network, ip }, Mark::Same)
}

const fn stop(name: &'static str) -> Step {
    Step::new(Act::Stop(name), Mark::Same)
}

const GATEWAY: &str = "weft tells the gateway also when it chose it";
const OPTIONS: &str = "weft refuses an option that it would not follow";
const NEWER: &str = "weft says what newer engines say";
const NAMES: &str = "weft's names are letters, digits, `_`, `.` and `-`";
const ALIASES: &str = "engines since 26 do not count the id among the aliases either";
const AT_WILL: &str = "weft makes such networks at will";

/// Everything, in order.
pub(super) const LIST: &[Part] = &[
    Part { title: "What is always there", steps: BUILT_IN },
    Part { title: "Making networks", steps: MAKING },
    Part { title: "What cannot be made", steps: REFUSED },
    Part { title: "Looking", steps: LOOKING },
    Part { title: "Containers", steps: CONTAINERS },
    Part { title: "Removing", steps: REMOVING },
    Part { title: "Drivers host and none", steps: HOST_AND_NONE },
    Part { title: "IPAM plugins", steps: PLUGINS },
    Part { title: "A physical network", steps: MACVLAN },
    Part { title: "What this version does not have yet", steps: LATER },
];

const BUILT_IN: &[Step] = &[
    same("network ls"),
    same("network inspect host"),
    same("network inspect none"),
    differs(
        "network inspect bridge",
        "`bridge` takes a subnet with its first endpoint, and stands on no bridge of the kernel's",
    ),
    same("network create bridge"),
    same("network create host"),
    same("network create none"),
    same("network create default"),
    same("network rm bridge"),
    same("network rm host none"),
    start("ann", "bridge", ""),
    same("network inspect --format '{{json .Containers}}' bridge"),
];

const MAKING: &[Step] = &[
    same("network create --driver bridge my-bridge-network"),
    same("network inspect my-bridge-network"),
    same("network create --driver bridge --subnet 192.168.1.0/24 my_network"),
    differs("network inspect my_network", GATEWAY),
    same(
        "network create --subnet 10.20.0.0/24 --ip-range 10.20.0.128/25 --gateway 10.20.0.254 \
         --aux-address printer=10.20.0.130 --internal --attachable --label tier=back \
         -o com.docker.network.driver.mtu=1400 full",
    ),
    same("network inspect full"),
    same(
        "network create --ipv6 --subnet 10.21.0.0/24 --subnet fd00:21::/64 --label old \
         --label a=b=c six",
    ),
    differs("network inspect six", GATEWAY),
    same(
        "network create --ipv6 --subnet 10.22.0.0/24 --gateway 10.22.0.1 --subnet fd00:22::/64 \
         --gateway fd00:22::1 six-too",
    ),
    same("network inspect six-too"),
    apart("network create --ipv6 six-of-a-pool", "engines since 27 have IPv6 pools too"),
    apart(
        "network create --subnet 10.23.0.0/24 --subnet 10.24.0.0/24 two-subnets",
        "a network of weft's has up to 16 subnets",
    ),
    apart(
        "network create --ipam-driver null bare",
        "weft's bridge needs no addresses; its guests agree on them",
    ),
    same("network create --ipam-opt a=b --subnet 10.25.0.0/24 ipam-options"),
    differs("network inspect --format '{{json .IPAM}}' ipam-options", GATEWAY),
    apart("network create -o com.docker.network.bridge.enable_icc=false icc", OPTIONS),
    apart("network create -o colour=red option", OPTIONS),
    apart(
        "network create --config-only --subnet 10.26.0.0/24 template",
        "no templates of networks in this version",
    ),
    same("network create --config-from template of-template"),
    apart(
        "network create --subnet 10.27.0.0/31 two-addresses",
        "with two addresses weft has no gateway; the engine insists on one",
    ),
    same("network create --subnet 10.29.0.0/24 --subnet fd00:29::/64 six-unsaid"),
    apart("network inspect six-unsaid", "an IPv6 subnet is used also without `--ipv6`"),
    same("network create --scope local --subnet 10.28.0.0/24 local"),
];

const REFUSED: &[Step] = &[
    same("network create my_network"),
    same("network create --subnet 192.168.1.128/25 refused-1"),
    same("network create --subnet 192.168.0.0/16 refused-2"),
    same("network create --subnet 192.168.1.0/24 refused-3"),
    apart("network create --subnet 10.30.0.1/24 refused-4", NEWER),
    differs("network create --subnet 10.30.0.0/33 refused-5", NEWER),
    differs("network create --subnet nonsense refused-6", NEWER),
    same("network create --subnet 10.30.0.0/24 --ip-range 10.31.0.0/25 refused-7"),
    same("network create --subnet 10.30.0.0/24 --gateway 10.31.0.1 refused-8"),
    same("network create --subnet 10.30.0.0/24 --gateway nonsense refused-9"),
    same("network create --subnet 10.30.0.0/24 --aux-address a=10.31.0.9 refused-10"),
    differs(
        "network create --subnet 10.30.0.0/24 --gateway 10.30.0.0 refused-11",
        "refused alike; weft says what is wrong with the address",
    ),
    same(
        "network create --subnet 10.30.0.0/24 --gateway 10.30.0.9 \
         --aux-address a=10.30.0.9 refused-12",
    ),
    same("network create --subnet 10.30.0.0/24 --subnet 10.30.0.128/25 refused-13"),
    same("network create --gateway 10.30.0.1 refused-14"),
    same("network create --scope swarm refused-15"),
    differs(
        "network create --scope nonsense refused-16",
        "refused alike; there is no swarm to send one to",
    ),
    same("network create --ingress refused-17"),
    same("network create --config-from nowhere refused-18"),
    differs(
        "network create -o com.docker.network.driver.mtu=many refused-19",
        "refused alike; the engine names its parser",
    ),
    differs("network create ''", "refused alike; the engine finds a network of every name"),
    apart("network create 'a b'", NAMES),
    apart("network create -- -a", NAMES),
    same("network create"),
    early(same("network create --driver brige refused-20")),
    early(same("network create --ipam-driver dhcp refused-21")),
];

const LOOKING: &[Step] = &[
    same("network ls"),
    same(
        "network ls --filter name=full \
         --format {{.Name}}/{{.Driver}}/{{.Scope}}/{{.Internal}}/{{.IPv6}}/{{.Labels}}",
    ),
    same("network ls --format '{{json .}}' --filter name=full"),
    same("network ls --quiet --filter name=my"),
    same("network ls --no-trunc --filter name=my"),
    same("network ls --filter name=^my_network$ --format {{.Name}}"),
    same("network ls --filter name=my.*k$ --format {{.Name}}"),
    same("network ls --filter id=@full --format {{.Name}}"),
    same("network ls --filter driver=host --format {{.Name}}"),
    same("network ls --filter driver=null --format {{.Name}}"),
    same("network ls --filter type=builtin --format {{.Name}}"),
    same("network ls --filter type=nonsense --format {{.Name}}"),
    same("network ls --filter label=tier --format {{.Name}}"),
    same("network ls --filter label=tier=back --format {{.Name}}"),
    same("network ls --filter label=tier=front --format {{.Name}}"),
    same("network ls --filter label=old --filter label=a=b=c --format {{.Name}}"),
    same("network ls --filter scope=local --filter name=my --format {{.Name}}"),
    same("network ls --filter scope=swarm --format {{.Name}}"),
    same("network ls --filter name=full --filter name=six --format {{.Name}}"),
    same("network ls --filter name=full --filter driver=host --format {{.Name}}"),
    same("network ls --filter dangling=false --filter name=my --format {{.Name}}"),
    same("network ls --filter dangling=maybe"),
    same("network ls --filter colour=red"),
    same("network inspect full my_network --format {{.Name}}"),
    same("network inspect @full --format '{{.Name}} {{range .IPAM.Config}}{{.Subnet}}{{end}}'"),
    same("network inspect nowhere"),
    same("network inspect full nowhere --format {{.Name}}"),
    same("network inspect full --format {{.Nonsense}}"),
];

const CONTAINERS: &[Step] = &[
    start("web", "my_network", ""),
    start("db", "my_network", "192.168.1.77"),
    start("cache", "six", ""),
    differs("network inspect my_network", GATEWAY),
    differs("network inspect six", GATEWAY),
    differs("inspect --format '{{json .NetworkSettings.Networks}}' web", ALIASES),
    differs("inspect --format '{{json .NetworkSettings.Networks}}' cache", ALIASES),
    same("inspect --format '{{.Name}} {{.State.Status}} {{.HostConfig.NetworkMode}}' web"),
    same("ps --format '{{.Names}} {{.Networks}}'"),
    same("ps --filter network=six --format {{.Names}}"),
    same("ps --filter name=web --format {{.Names}}"),
    differs(
        "network ls --filter dangling=true --filter name=my --format {{.Name}}",
        "the engine calls every network of one's own unused",
    ),
    same("network connect full web"),
    same("network connect --ip 10.20.0.99 --alias store full db"),
    same("network inspect --format '{{json .Containers}}' full"),
    differs("inspect --format '{{json .NetworkSettings.Networks.full.Aliases}}' db", ALIASES),
    same("network connect full web"),
    same("network connect --ip 10.20.0.99 full cache"),
    same("network connect --ip 10.20.0.254 full cache"),
    same("network connect --ip 10.20.0.130 full cache"),
    same("network connect --ip 10.20.0.0 full cache"),
    same("network connect --ip 10.20.0.255 full cache"),
    differs("network connect --ip 10.99.0.1 full cache", NEWER),
    differs("network connect --ip nonsense full cache", NEWER),
    differs("network connect --ip6 fd00:99::1 full cache", NEWER),
    differs(
        "network connect --ip 172.18.0.77 my-bridge-network ann",
        "weft takes an address of any subnet, also of one that it chose",
    ),
    same("network connect --ip6 fd00:21::77 six web"),
    same("inspect --format '{{.NetworkSettings.Networks.six.GlobalIPv6Address}}' web"),
    same("network connect nowhere web"),
    same("network connect full nobody"),
    same("network connect host web"),
    same("network connect none web"),
    differs("network disconnect my-bridge-network db", "weft calls it by its name"),
    same("network disconnect full nobody"),
    same("network disconnect nowhere web"),
    same("network disconnect full db"),
    differs("network disconnect --force full db", "weft calls it by its name"),
    same("network disconnect --force full web"),
    same("network inspect --format '{{json .Containers}}' full"),
    same("network connect bridge web"),
    same("network disconnect bridge web"),
];

const REMOVING: &[Step] = &[
    stop("ann"),
    same("network rm my_network"),
    same("network rm nowhere"),
    same("network rm nowhere my_network local"),
    same("network rm @my-bridge-network"),
    stop("web"),
    same("network rm my_network"),
    stop("db"),
    same("network rm my_network"),
    same("network create --label keep keep"),
    same("network prune --force --filter until=1h"),
    same("network prune --force --filter colour=red"),
    same("network prune --force --filter label=tier"),
    same("network prune --force --filter label!=keep"),
    same("network ls --format {{.Name}}"),
    stop("cache"),
    same("network prune --force"),
    same("network ls"),
    same("network create --label a --label b both"),
    same("network create --label a one"),
    differs(
        "network prune --force --filter label!=a --filter label!=b",
        "the engine leaves what has every label, weft what has any",
    ),
];

const HOST_AND_NONE: &[Step] = &[
    apart("network create --driver host my-host-network", AT_WILL),
    apart("network create --driver null my-null-network", AT_WILL),
    early(apart("network create --driver none my-none-network", AT_WILL)),
];

/// The plugin `custom-ipam` is the engine's and weft's alike.
const PLUGINS: &[Step] = &[
    same(
        "network create --driver bridge --ipam-driver custom-ipam --subnet 192.168.10.0/24 \
         my-custom-network",
    ),
    differs("network inspect my-custom-network", GATEWAY),
    start("zoe", "my-custom-network", ""),
    same("network inspect --format '{{json .Containers}}' my-custom-network"),
    stop("zoe"),
    same(
        "network create --ipam-driver custom-ipam --subnet 10.50.0.0/24 --gateway 10.50.0.9 \
         --ip-range 10.50.0.128/25 --aux-address printer=10.50.0.7 --ipam-opt tenant=blue custom",
    ),
    same("network inspect custom"),
    same("network rm my-custom-network custom"),
];

const MACVLAN: &[Step] = &[
    aside("network create --driver macvlan --subnet=192.168.1.0/24 my-macvlan-network", DUMMY),
    aside("network inspect my-macvlan-network", DUMMY),
    aside("network rm my-macvlan-network", DUMMY),
    same(
        "network create --driver macvlan --subnet=192.168.1.0/24 -o parent=eth0 \
         my-macvlan-network",
    ),
    differs("network inspect my-macvlan-network", GATEWAY),
    differs(
        "network create --driver macvlan --subnet=192.168.2.0/24 -o parent=eth0 again",
        "weft calls the other network by its name",
    ),
    same("network rm my-macvlan-network"),
    same(
        "network create --driver macvlan --subnet=192.168.1.0/24 -o parent=eth0 \
         -o macvlan_mode=private my-macvlan-network",
    ),
    differs("network inspect my-macvlan-network", GATEWAY),
    same("network rm my-macvlan-network"),
    same("network create --driver macvlan -o macvlan_mode=nonsense my-macvlan-network"),
    same("network create --driver macvlan -o parent=lo my-macvlan-network"),
    differs(
        "network create --driver macvlan -o parent=eth7 my-macvlan-network",
        "the engine takes what is not there for a VLAN, and weft says that it is not there",
    ),
];

const DUMMY: &str = "works where the kernel has dummy devices: one is the parent";

/// These may differ until weft has the driver that they name: then they move up and lose their
/// mark.
const LATER: &[Step] =
    &[later("network create --driver overlay --subnet 10.40.0.0/24 my-overlay-network")];
