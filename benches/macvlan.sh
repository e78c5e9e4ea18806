#!/usr/bin/env bash
# weft's macvlan beside the kernel's: one far host, a veth for each, in turns. As root.
#
#   cargo build --release --bin weft --example load && sudo benches/macvlan.sh [ROUNDS]
#
# Prints one line for each round, and then the medians of the ratios weft : kernel.
set -euo pipefail

rounds=${1:-5}
target=${CARGO_TARGET_DIR:-target}/release
weft=$(realpath "$target/weft")
load=$(realpath "$target/examples/load")
work=$(mktemp -d)
export WEFT_SOCKET=$work/weft.sock
far=10.250.0.1

finish() {
  "$weft" down >/dev/null 2>&1 || true
  wait
  for name in out near beside child; do ip netns del "wb-$name" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

for name in out near beside child; do
  ip netns add "wb-$name"
  ip -n "wb-$name" link set lo up
done
ip -n wb-out link add br0 type bridge
ip -n wb-out address add "$far/24" dev br0
ip -n wb-out link set br0 up
for name in near beside; do
  ip -n wb-out link add "p-$name" type veth peer name eth0 netns "wb-$name"
  ip -n wb-out link set "p-$name" master br0 up
  ip -n "wb-$name" link set eth0 up
done
ip -n wb-beside link add child link eth0 type macvlan mode bridge
ip -n wb-beside link set child netns wb-child name eth0
ip -n wb-child address add 10.250.0.21/24 dev eth0
ip -n wb-child link set eth0 up
cat > "$work/weft.toml" <<'TOML'
[networks.lan]
driver = "macvlan"
subnets = ["10.250.0.0/24"]
options = { parent = "eth0" }
TOML
ip netns exec wb-near "$weft" up "$work/weft.toml" > "$work/up.log" 2>&1 &
for _ in $(seq 50); do [ -S "$WEFT_SOCKET" ] && break; sleep 0.1; done
"$weft" run --detach --network lan,ip=10.250.0.11 --name ann -- sleep infinity > /dev/null

from_weft() { "$weft" exec ann -- "$@"; }
from_kernel() { ip netns exec wb-child "$@"; }
on_far() { ip netns exec wb-out "$@"; }

# WHO [-R]: Gbit/s of one TCP stream to the far host, or back.
stream() {
  on_far iperf3 -s -1 > /dev/null &
  local server=$!
  sleep 0.3
  "from_$1" iperf3 -c "$far" -t 4 -O 1 -C cubic -J ${2:-} | jq '.end.sum_received.bits_per_second / 1e9'
  wait $server
}

# WHO: thousands of 60-octet frames a second that arrive.
frames() {
  on_far "$load" udp-recv 9000 3 > "$work/received" &
  local receiver=$!
  sleep 0.3
  "from_$1" "$load" udp-send "$far:9000" 2 > "$work/sent"
  wait $receiver
  jq -s '.[1].received / .[0].secs / 1000' "$work/sent" "$work/received"
}

# WHO: the median round trip of 64 octets over TCP, in microseconds.
round_trip() {
  on_far "$load" rr-server 9001 > /dev/null &
  local server=$!
  sleep 0.3
  "from_$1" "$load" rr-client "$far:9001" 2 | jq '.p50_us'
  wait $server
}

echo "round who out-Gbit/s in-Gbit/s 60-octet-k/s round-trip-us"
for round in $(seq "$rounds"); do
  for who in kernel weft; do
    echo "$round $who $(stream $who) $(stream $who -R) $(frames $who) $(round_trip $who)"
  done
done | tee "$work/rounds"
jq -Rsr '
  def median: sort | .[length / 2 | floor];
  [split("\n")[] | select(length > 0) | split(" ")] | group_by(.[0])
  | map((map(select(.[1] == "weft"))[0]) as $own | (map(select(.[1] == "kernel"))[0]) as $other
        | [range(2; 6) | ($own[.] | tonumber) / ($other[.] | tonumber)])
  | transpose | map(median * 100 | round / 100)
  | "weft : kernel, medians: out \(.[0]), in \(.[1]), 60 octets \(.[2]), round trip \(.[3])"
' "$work/rounds"
