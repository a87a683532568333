#!/usr/bin/env bash
# How fast a replica that lost its store gets the state from the others, and what that costs those who serve.
#
# Fills a cluster on this machine, takes one replica's store away, and starts it with --repair: once while nothing else happens, and
# once under a load of empty operations, whose throughput is compared with that without the replica. Needs a release build (make
# build), and about ten times the state's size on the disk.
#
# Benchmarks/state-transfer.sh --seconds 8, one run, on two processors for four replicas and the clients: alone 12.1 s (89 MB/s); under
# load level after 107 s (10 MB/s), 21725 operations/s before, with three replicas, 14636 meanwhile (67 %), 18509 after, with all four
# (85 %). By the second it was about 73 % for the first minute, and 60 % while the state was installed. One run at twice both paces: level
# after 58.6 s, 63 % meanwhile (70 and 58 %), 91 % after.
set -euo pipefail

usage() {
    cat <<'END'
usage: Benchmarks/state-transfer.sh [options]
  --protocol pbft|aardvark   the cluster's protocol (pbft)
  --records N, --size BYTES  the state: so many values of so many bytes (16384 of 65536: 1 GiB)
  --seconds N                how long to measure the throughput without the replica (10)
  --keep DIR                 keep the logs there
END
}

protocol=pbft records=16384 size=65536 seconds=10 keep=
while [ $# -gt 0 ]; do
    case $1 in
        --protocol | --records | --size | --seconds | --keep)
            [ $# -ge 2 ] || { usage >&2; exit 64; }
            declare "${1#--}=$2"
            shift 2
            ;;
        --help) usage; exit 0 ;;
        *) usage >&2; exit 64 ;;
    esac
done

program=${AARDVARK:-$(dirname "$0")/../.build/release/aardvark}
[ -x "$program" ] || { echo "state-transfer.sh: $program is not there; make build" >&2; exit 66; }
program=$(realpath "$program")
directory=$(mktemp -d)
processes=()
load=

clean() {
    trap - EXIT INT TERM
    for process in "${processes[@]}" $load; do kill -9 "$process" 2>/dev/null || true; done
    { wait; } 2>/dev/null
    if [ -n "$keep" ]; then mkdir -p "$keep" && cp "$directory"/*.log "$directory"/*.json "$keep"; fi
    rm -rf "$directory"
}
trap clean EXIT
trap 'exit 130' INT TERM
cd "$directory"

start() {
    "$program" replica --cluster cluster/cluster.yaml --id "$1" $2 >>"replica-$1.log" 2>&1 &
    processes[$1]=$!
}

bench() { "$program" bench --cluster cluster/cluster.yaml "$@"; }

# A number that each replica says of itself, one a line; nothing for one that does not answer.
status() {
    "$program" status --cluster cluster/cluster.yaml --json 2>/dev/null \
        | awk -F'[:,]' -v field="\"$1\"" '$0 ~ field { print $2 + 0 }' || true
}

now() { date +%s.%N; }

seconds_since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", to - from }'; }

# Waits until all four replicas have executed batch $1.
level() {
    for ((try = 0; try < 6000; try++)); do
        if [ "$(status last_executed | awk -v goal="$1" '$1 >= goal' | wc -l)" = 4 ]; then return; fi
        sleep 0.1
    done
    echo "state-transfer.sh: the replicas are not level" >&2
    exit 1
}

# Takes the store of replica 3 away.
lose() {
    kill -9 "${processes[3]}"
    wait "${processes[3]}" 2>/dev/null || true
    rm -rf cluster/data/replica-3
}

throughput() {
    awk -F'[:,]' '/^  "throughput_operations_per_second"/ { print $2 + 0 }' "$1"
}

"$program" init --protocol "$protocol" --durability process-crash --output cluster --base-port $((20000 + RANDOM % 8000)) \
    >/dev/null
for id in 0 1 2 3; do start $id --create; done
level 0
echo "state: $records values of $size bytes, $((records * size / 1048576)) MiB; $protocol"
bench --workload ycsb-c --records "$records" --size "$size" --clients 4 --window 4 --seconds 1 --json >fill.json 2>fill.log
# A checkpoint with all of it becomes stable.
bench --workload null --clients 1 --window 1 --seconds 2 --json >settle.json 2>>fill.log
target=$(status stable_checkpoint | sort -n | head -1)
level "$target"

lose
began=$(now)
start 3 --repair
level "$target"
took=$(seconds_since "$began")
echo "alone: $took s, $(awk -v b=$((records * size)) -v s="$took" 'BEGIN { printf "%.0f MB/s", b / s / 1e6 }')"

lose
bench --workload null --clients 4 --window 8 --seconds "$seconds" --json >before.json 2>before.log
# With job control, or the shell has its background processes ignore Ctrl-C.
set -m
"$program" bench --cluster cluster/cluster.yaml --workload null --clients 4 --window 8 --seconds 3600 --json >during.json 2>during.log &
load=$!
set +m
sleep 2
target=$(status last_executed | sort -n | tail -1)
began=$(now)
start 3 --repair
level "$target"
took=$(seconds_since "$began")
kill -INT $load
wait $load || true
load=
# The fourth replica takes its part of the processors without any fetch too.
bench --workload null --clients 4 --window 8 --seconds "$seconds" --json >after.json 2>after.log
before=$(throughput before.json) during=$(throughput during.json) after=$(throughput after.json)
awk -v t="$took" -v b=$((records * size)) -v before="$before" -v during="$during" -v after="$after" 'BEGIN {
    printf "under load: level after %.1f s (%.0f MB/s); %.0f operations/s before, %.0f meanwhile (%.0f %%), %.0f after, with all four (%.0f %%)\n",
        t, b / t / 1e6, before, during, 100 * during / before, after, 100 * after / before
}'
awk -F'[:,]' -v before="$before" '/^      "throughput_operations_per_second"/ { line = line sprintf(" %.0f", 100 * $2 / before) }
    END { print "meanwhile by the second, in % of before:" line }' during.json
