# Turns the lines that scripts/bench has measured into the tables of docs/performance.md.

def med:
  map(select(. != null)) | sort
  | if length == 0 then null else (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 end;

# With n digits after the point, and a dash for what was not measured.
def fix(n):
  if . == null then "–"
  else (if n == 0 then 1 elif n == 1 then 10 else 100 end) as $scale
  | (. * $scale | round | tostring) as $digits
  | if n == 0 then $digits
    else ("000" + $digits)[-([$digits | length, n + 1] | max):] | .[:-n] + "." + .[-n:] end
  end;

def times: if . == null then "–" else fix(2) + "×" end;

def cells: "| " + join(" | ") + " |";

# The median ratio of two peers in the same round.
def beside($ours; $theirs; f):
  . as $all
  | [.[] | select(.peer == $ours) | . as $row | $all[]
     | select(.peer == $theirs and .round == $row.round)
     | ($row | f) as $one | f as $other
     | if $one == null or ($other // 0) == 0 then null else $one / $other end]
  | med;

def least_most(f): map(f | select(. != null)) | if length == 0 then "–" else "\(min | fix(1))–\(max | fix(1))" end;

def floor_row($name; $value; holds):
  [$name, ($value | times),
   if $value == null then "not measured" elif ($value | holds) then "yes" else "**no**" end]
  | cells;

def paths:
  . as $all
  | (["switch", "one stream, Gbit/s (least–most)", "", "four pairs, Gbit/s", "",
      "60-octet frames, k/s (lost)", "", "round trip, µs: p50, p99", "",
      "CPU s/GiB, of it the switch", "MiB"] | cells),
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    (group_by(.peer) | sort_by(-(map(.one_gbps) | med // 0))[]
     | .[0].peer as $peer
     | def ratio(f): $all | beside($peer; "bridge"; f) | times;
     [$peer,
      "\(map(.one_gbps) | med | fix(1)) (\(least_most(.one_gbps)))", ratio(.one_gbps),
      (map(.four_gbps) | med | fix(1)), ratio(.four_gbps),
      (map(.frames_pps // null | if . then . / 1000 else . end) | med | fix(0))
        + " (\(map(if .frames_pps and .frames_sent_pps
                   then 100 - 100 * .frames_pps / .frames_sent_pps else null end) | med | fix(0)) %)",
      ratio(.frames_pps),
      "\(map(.rr_p50_us) | med | fix(1)), \(map(.rr_p99_us) | med | fix(0))", ratio(.rr_p50_us),
      "\(map(.one_cpu_s_per_gib) | med | fix(2)), \(map(.one_own_s_per_gib) | med | fix(2))",
      (map(.resident_kib / 1024) | med | fix(1))] | cells),
    "",
    "Rounds: \(map(.round) | max). Processors that others used before a run: "
      + "median \(map(.busy_before) | med | fix(2)), at most \(map(.busy_before) | max | fix(2)).",
    "",
    "| floor | measured | holds |",
    "| --- | ---: | --- |",
    floor_row("one stream ≥ 0.5 of the bridge"; beside("weft"; "bridge"; .one_gbps); . >= 0.5),
    floor_row("one stream ≥ 2 of OVS with TSO"; beside("weft"; "ovs"; .one_gbps); . >= 2),
    floor_row("one stream ≥ 5 of VDE"; beside("weft"; "vde"; .one_gbps); . >= 5),
    floor_row("four pairs ≥ 2 of OVS with TSO"; beside("weft"; "ovs"; .four_gbps); . >= 2),
    floor_row("60-octet frames ≥ 1.0 of the bridge"; beside("weft"; "bridge"; .frames_pps); . >= 1),
    floor_row("round trip ≤ 1.7 of the bridge"; beside("weft"; "bridge"; .rr_p50_us); . <= 1.7);

def growth:
  (["sandboxes", "one pair, Gbit/s", "round trip, µs: p50, p99", "start one more, ms",
    "appliance, MiB", "KiB a port, idle"] | cells),
  "| ---: | ---: | ---: | ---: | ---: | ---: |",
  (group_by(.sandboxes)[]
   | [(.[0].sandboxes | tostring), (map(.one_gbps) | med | fix(1)),
      "\(map(.rr_p50_us) | med | fix(1)), \(map(.rr_p99_us) | med | fix(0))",
      (.[0].start_ms | fix(1)), (map(.resident_kib / 1024) | med | fix(1)),
      (.[0].kib_per_port | fix(1))] | cells);

def duration:
  if . == null then "" elif . < 1000 then "\(fix(1)) ns"
  elif . < 1e6 then "\(. / 1e3 | fix(1)) µs" else "\(. / 1e6 | fix(1)) ms" end;

# What a benchmark is compared with has the same name but for this.
def rival:
  sub("(?<a>^|/)fdb(?<b>/|$)"; "\(.a)std-hashmap\(.b)") | sub("/weft(?<b>/|$)"; "/pnet\(.b)");

def functions:
  (map({key: .id, value: (.ns / .per)}) | from_entries) as $ns
  | "| operation | weft | beside it | | ratio |",
    "| --- | ---: | --- | ---: | ---: |",
    ($ns | keys[] | select(test("/(std-hashmap|pnet)(/|$)") | not)
     | . as $id | rival as $rival
     | (if $rival == $id then null else $ns[$rival] end) as $other
     | [$id, ($ns[$id] | duration),
        if $other == null then "", "", ""
        else (if $rival | test("/pnet") then "pnet_packet" else "std HashMap" end),
          ($other | duration), ($ns[$id] / $other | times) end] | cells);

def objects:
  (["networks", "endpoints", "create a network, µs", "the last tenth", "join, endpoints/s",
    "list all, ms", "inspect one, µs", "remove, a second", "kill -9 and start again, ms",
    "appliance, MiB", "state, MiB", "one fsync, µs"] | cells),
  "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
  (sort_by(.networks)[]
   | [(.networks | fix(0)), (.endpoints | fix(0)), (1e6 / .create_per_s | fix(0)),
      (.create_last_tenth_us | fix(0)), (.attach_endpoints_per_s | fix(0)), (.list_ms | fix(1)),
      (.inspect_us | fix(0)), (.remove_per_s | fix(0)), (.restart_ms | fix(0)),
      (.resident_mib | fix(0)), (.state_mib | fix(1)), (.fsync_us | fix(0))] | cells);
