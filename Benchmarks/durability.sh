#!/usr/bin/env bash
# What durability costs: both protocols with and without it in turn, and in the same run how long the disk itself takes for a sync.
#
# Four replicas on this machine and empty operations: the median latency of a lone client, and the throughput of eight with a window of
# 32. Three syncs lie on an operation's way one after the other (the primary's before PRE-PREPARE, a backup's before PREPARE, and one
# before COMMIT), and all replicas sync on one disk. So the latency that durability adds is given in syncs too: of one writer that has the
# disk to itself, and of as many writers at once as there are replicas. A writer is dd, which adds 512 bytes to a file and syncs it
# again and again. Needs a release build (make build).
#
# Benchmarks/durability.sh --seconds 3 on two processors for the replicas and the clients, three runs: a sync took 106 to 114 us alone and
# 185 to 193 us with four at once (76 and 152 us where the file does not grow: dd conv=notrunc). p50 in memory and with power-loss: pbft
# 218 to 273 and 1218 to 1265 us, aardvark 436 to 453 and 1390 to 1430 us; so 937 to 1000 us more, 5.2 syncs of four. Throughput with
# power-loss as a share of that in memory: pbft 53 % (in a third run, whose run in memory was slow, 91 %), aardvark 84 to 88 %. Syncing
# on the replica's own thread instead of the log's made no more than 0.1 ms of difference, in pbft, so the hand-over is not what costs most.
set -euo pipefail

usage() {
    cat <<'END_OF_USAGE'
usage: Benchmarks/durability.sh [options]
  --seconds N       how long each measurement is (4)
  --repeat N        how often all of it is done (3)
  --protocols LIST  which, with a space between them ("pbft aardvark")
  --directory DIR   where the stores are: on the disk to measure (the system's temporary directory)
END_OF_USAGE
}

seconds=4 repeat=3 protocols="pbft aardvark" directory=${TMPDIR:-/tmp}
while [ $# -gt 0 ]; do
    case $1 in
        --seconds | --repeat | --protocols | --directory)
            [ $# -ge 2 ] || { usage >&2; exit 64; }
            declare "${1#--}=$2"
            shift 2
            ;;
        --help) usage; exit 0 ;;
        *) usage >&2; exit 64 ;;
    esac
done

program=${AARDVARK:-$(dirname "$0")/../.build/release/aardvark}
[ -x "$program" ] || { echo "durability.sh: $program is not there; make build" >&2; exit 66; }
program=$(realpath "$program")
directory=$(mktemp -d "$directory/durability-XXXXXX")
cluster=

clean() {
    trap - EXIT INT TERM
    if [ -n "$cluster" ]; then kill -INT "$cluster" 2>/dev/null || true; fi
    { wait; } 2>/dev/null
    rm -rf "$directory"
}
trap clean EXIT
trap 'exit 130' INT TERM
cd "$directory"

# Microseconds a sync takes when $1 writers sync at once.
sync_time() {
    local count=500 writer writers=()
    for ((writer = 0; writer < $1; writer++)); do
        LC_ALL=C dd if=/dev/zero of="sync-$writer" bs=512 count=$count oflag=dsync 2>"sync-$writer.log" &
        writers+=($!)
    done
    wait "${writers[@]}"
    cat sync-*.log | awk -v count=$count '/copied/ { for (i = 2; i <= NF; i++) if ($i == "s,") { sum += $(i - 1); n++ } }
        END { printf "%.0f", 1e6 * sum / n / count }'
    rm -f sync-*
}

# Sets p50, the median latency of a lone client in microseconds, and rate, the throughput of eight in operations per second.
measure() {
    "$program" init --protocol "$1" --durability "$2" --output cluster --base-port $((20000 + RANDOM % 8000)) >/dev/null
    # With job control, or the shell has its background processes ignore Ctrl-C.
    set -m
    "$program" up --directory cluster >up.log 2>&1 &
    cluster=$!
    set +m
    for ((try = 0; try < 300; try++)); do
        if [ "$("$program" status --cluster cluster/cluster.yaml --json 2>/dev/null | grep -c '"last_executed"')" = 4 ]; then break; fi
        sleep 0.1
    done
    "$program" bench --cluster cluster/cluster.yaml --workload null --clients 1 --window 1 --seconds "$seconds" --json >lone.json
    "$program" bench --cluster cluster/cluster.yaml --workload null --clients 8 --window 32 --seconds "$seconds" --json >many.json
    kill -INT "$cluster"
    wait "$cluster" || true
    cluster=
    rm -rf cluster
    p50=$(awk -F'[:,]' '/^    "p50_microseconds"/ { print $2 + 0; exit }' lone.json)
    rate=$(awk -F'[:,]' '/^  "throughput_operations_per_second"/ { print $2 + 0 }' many.json)
}

for ((run = 1; run <= repeat; run++)); do
    for protocol in $protocols; do
        alone=$(sync_time 1) together=$(sync_time 4)
        measure "$protocol" none
        before=$p50 most=$rate
        measure "$protocol" power-loss
        awk -v run="$run" -v protocol="$protocol" -v alone="$alone" -v together="$together" -v before="$before" -v after="$p50" \
            -v most="$most" -v rate="$rate" 'BEGIN {
                printf "%d %s: sync %d us alone, %d us with four at once; p50 in memory %d us, power-loss %d us: ", run, protocol, alone,
                    together, before, after
                printf "%d us more, %.1f syncs alone, %.1f of four; %d operations/s in memory, %d power-loss (%.0f %%)\n", after - before,
                    (after - before) / alone, (after - before) / together, most, rate, 100 * rate / most
            }'
    done
done
