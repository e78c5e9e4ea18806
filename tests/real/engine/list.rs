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
    /// Whether it is begun before all others, for the engine takes 15 s to answer: it may not
    /// depend on any of them.
    pub(super) is_early: bool,
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
}

const fn same(line: &'static str) -> Step {
    Step { act: Act::Docker(line), mark: Mark::Same, is_early: false }
}

const fn differs(line: &'static str, why: &'static str) -> Step {
    Step { act: Act::Docker(line), mark: Mark::Differs(why), is_early: false }
}

const fn later(line: &'static str) -> Step {
    Step { act: Act::Docker(line), mark: Mark::Later, is_early: false }
}

const fn early(step: Step) -> Step {
    Step { is_early: true, ..step }
}

const fn start(name: &'static str, network: &'static str, ip: &'static str) -> Step {
    Step { act: Act::Start { name, network, ip }, mark: Mark::Same, is_early: false }
}

const fn stop(name: &'static str) -> Step {
    Step { act: Act::Stop(name), mark: Mark::Same, is_early: false }
}

/// Everything, in order.
pub(super) const LIST: &[Part] = &[
    Part { title: "What is always there", steps: BUILT_IN },
    Part { title: "Making networks", steps: MAKING },
    Part { title: "What cannot be made", steps: REFUSED },
    Part { title: "Looking", steps: LOOKING },
    Part { title: "Containers", steps: CONTAINERS },
    Part { title: "Removing", steps: REMOVING },
    Part { title: "Drivers host and none", steps: HOST_AND_NONE },
    Part { title: "What this version does not have yet", steps: LATER },
];

const BUILT_IN: &[Step] = &[
    same("network ls"),
    same("network inspect host"),
    same("network inspect none"),
    same("network inspect bridge"),
    same("network create bridge"),
    same("network create host"),
    same("network create none"),
    same("network create default"),
    same("network rm bridge"),
    same("network rm host none"),
];

const MAKING: &[Step] = &[
    same("network create --driver bridge my-bridge-network"),
    same("network inspect my-bridge-network"),
    same("network create --driver bridge --subnet 192.168.1.0/24 my_network"),
    same("network inspect my_network"),
    same(
        "network create --subnet 10.20.0.0/24 --ip-range 10.20.0.128/25 --gateway 10.20.0.254 \
         --aux-address printer=10.20.0.130 --internal --attachable --label tier=back --label old \
         -o com.docker.network.driver.mtu=1400 full",
    ),
    same("network inspect full"),
    same("network create --ipv6 --subnet 10.21.0.0/24 --subnet fd00:21::/64 six"),
    same("network inspect six"),
    same(
        "network create --ipv6 --subnet 10.22.0.0/24 --gateway 10.22.0.1 --subnet fd00:22::/64 \
         --gateway fd00:22::1 six-too",
    ),
    same("network inspect six-too"),
    same("network create --ipv6 six-of-a-pool"),
    same("network create --subnet 10.23.0.0/24 --subnet 10.24.0.0/24 two-subnets"),
    same("network create --ipam-driver null bare"),
    same("network inspect bare"),
    same("network create --ipam-opt a=b --subnet 10.25.0.0/24 ipam-options"),
    same("network inspect --format '{{json .IPAM}}' ipam-options"),
    same("network create -o com.docker.network.bridge.enable_icc=false icc"),
    same("network create -o colour=red option"),
    same("network create --config-only --subnet 10.26.0.0/24 template"),
    same("network create --config-from template of-template"),
    same("network create --subnet 10.27.0.0/31 two-addresses"),
    same("network create --scope local --subnet 10.28.0.0/24 local"),
];

const REFUSED: &[Step] = &[
    same("network create my_network"),
    same("network create --subnet 192.168.1.128/25 more"),
    same("network create --subnet 192.168.0.0/16 more"),
    same("network create --subnet 192.168.1.0/24 more"),
    same("network create --subnet 10.30.0.1/24 more"),
    same("network create --subnet 10.30.0.0/33 more"),
    same("network create --subnet nonsense more"),
    same("network create --subnet 10.30.0.0/24 --ip-range 10.31.0.0/25 more"),
    same("network create --subnet 10.30.0.0/24 --gateway 10.31.0.1 more"),
    same("network create --subnet 10.30.0.0/24 --gateway nonsense more"),
    same("network create --subnet 10.30.0.0/24 --aux-address a=10.31.0.9 more"),
    same("network create --subnet 10.30.0.0/24 --gateway 10.30.0.0 more"),
    same("network create --subnet 10.30.0.0/24 --gateway 10.30.0.9 --aux-address a=10.30.0.9 more"),
    same("network create --subnet 10.30.0.0/24 --subnet 10.30.0.128/25 more"),
    same("network create --gateway 10.30.0.1 more"),
    same("network create --subnet fd00:30::/64 more"),
    same("network create --scope swarm more"),
    same("network create --scope nonsense more"),
    same("network create --ingress more"),
    same("network create --config-from nowhere more"),
    same("network create -o com.docker.network.driver.mtu=many more"),
    same("network create ''"),
    same("network create 'a b'"),
    same("network create -- -a"),
    same("network create"),
    early(same("network create --driver brige more")),
    early(same("network create --ipam-driver dhcp more")),
];

const LOOKING: &[Step] = &[
    same("network ls"),
    same(
        "network ls --format {{.Name}}/{{.Driver}}/{{.Scope}}/{{.Internal}}/{{.IPv6}}/{{.Labels}}",
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
    same("network ls --filter label=tier --filter label=old --format {{.Name}}"),
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
    same("network inspect my_network"),
    same("network inspect six"),
    same("inspect --format '{{json .NetworkSettings.Networks}}' web"),
    same("inspect --format '{{json .NetworkSettings.Networks}}' cache"),
    same("inspect --format '{{.Name}} {{.State.Status}} {{.HostConfig.NetworkMode}}' web"),
    same("ps --format '{{.Names}} {{.Networks}}'"),
    same("ps --filter network=six --format {{.Names}}"),
    same("ps --filter name=web --format {{.Names}}"),
    same("network ls --filter dangling=true --filter name=my --format {{.Name}}"),
    same("network connect full web"),
    same("network connect --ip 10.20.0.99 --alias store full db"),
    same("network inspect --format '{{json .Containers}}' full"),
    same("inspect --format '{{json .NetworkSettings.Networks.full.Aliases}}' db"),
    same("network connect full web"),
    same("network connect --ip 10.20.0.99 full cache"),
    same("network connect --ip 10.20.0.254 full cache"),
    same("network connect --ip 10.20.0.130 full cache"),
    same("network connect --ip 10.20.0.0 full cache"),
    same("network connect --ip 10.20.0.255 full cache"),
    same("network connect --ip 10.99.0.1 full cache"),
    same("network connect --ip nonsense full cache"),
    same("network connect --ip6 fd00:99::1 full cache"),
    same("network connect --ip 172.18.0.77 my-bridge-network cache"),
    same("network connect --ip6 fd00:21::77 six web"),
    same("inspect --format '{{.NetworkSettings.Networks.six.GlobalIPv6Address}}' web"),
    same("network connect nowhere web"),
    same("network connect full nobody"),
    same("network connect host web"),
    same("network connect none web"),
    same("network disconnect my-bridge-network db"),
    same("network disconnect full nobody"),
    same("network disconnect nowhere web"),
    same("network disconnect full db"),
    same("network disconnect --force full db"),
    same("network disconnect --force full web"),
    same("network inspect --format '{{json .Containers}}' full"),
    same("network connect bridge web"),
    same("network disconnect bridge web"),
];

const REMOVING: &[Step] = &[
    same("network rm my_network"),
    same("network rm nowhere"),
    same("network rm nowhere my_network bare"),
    same("network rm @my-bridge-network"),
    stop("web"),
    same("network rm my_network"),
    stop("db"),
    same("network rm my_network"),
    same("network create --label keep keep"),
    same("network prune --force --filter until=1h"),
    same("network prune --force --filter label!=keep --filter label!=tier --filter until=0s"),
    same("network ls --format {{.Name}}"),
    same("network prune --force --filter colour=red"),
    same("network prune --force --filter label=tier"),
    stop("cache"),
    same("network prune --force"),
    same("network ls"),
];

const HOST_AND_NONE: &[Step] = &[
    same("network create --driver host my-host-network"),
    same("network create --driver null my-null-network"),
    early(same("network create --driver none my-none-network")),
    same("network ls --filter type=custom --format '{{.Name}} {{.Driver}}'"),
    same("network prune --force"),
];

/// What others are building: each of these moves up, and loses its mark, with the driver it names.
const LATER: &[Step] = &[
    later("network create --driver macvlan --subnet=192.168.1.0/24 my-macvlan-network"),
    later("network inspect my-macvlan-network"),
    later("network rm my-macvlan-network"),
    later(
        "network create --driver macvlan --subnet=192.168.1.0/24 -o parent=eth0 \
         my-macvlan-network",
    ),
    later("network inspect my-macvlan-network"),
    later("network rm my-macvlan-network"),
    later("network create --driver macvlan -o macvlan_mode=nonsense my-macvlan-network"),
    later(
        "network create --driver bridge --ipam-driver custom-ipam --subnet 192.168.10.0/24 \
         my-custom-network",
    ),
    later("network inspect my-custom-network"),
    later("network rm my-custom-network"),
    later("network create --driver overlay --subnet 10.40.0.0/24 my-overlay-network"),
];
