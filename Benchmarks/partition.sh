#!/usr/bin/env bash
# How long a cluster takes to be itself again after a partition of its network has healed.
#
# Each replica and the load generator get a network namespace of their own. Those that are to be cut off are on a second
# switch, and the cut is the cable between the two switches: packets vanish, and nobody is told. Everything is removed at the
# end, also after a failure or Ctrl-C. Needs root and iproute2, and a release build (make build).
set -euo pipefail

usage() {
    cat <<'END'
usage: Benchmarks/partition.sh [options]
  --protocol pbft|aardvark   the cluster's protocol (pbft)
  --isolate LIST             the replicas to cut off from the others and from the clients, such as 3 or 0 or 2,3 (3)
  --replicas N               how many replicas there are (4)
  --freeze                   stop their processes (SIGSTOP) instead, and let them go on in the end
  --durability none|process-crash|power-loss   what the replicas' stores outlive (power-loss)
  --cut SECONDS              how long the partition lasts (30)
  --settle SECONDS           how long to measure before it and after it (10)
  --clients N, --window N    the load (4 clients, 4 outstanding requests each)
  --share PERCENT            of a processor (10 or more) that each replica has at most, so that none takes another's (as they please)
  --runs N                   how often (3)
  --keep DIR                 keep each run's report and logs there
Prints for each run: the throughput before; when, after the healing, half a second first had 90 % of it; the least throughput
of a second from then on; when (asked each second) the isolated replicas had executed all that the others had at the healing; and the audit.
END
}

protocol=pbft isolate=3 freeze= share= durability=power-loss replicas=4 cut=30 settle=10 clients=4 window=4 runs=3 keep=
while [ $# -gt 0 ]; do
    case $1 in
        --protocol | --isolate | --durability | --replicas | --cut | --settle | --clients | --window | --share | --runs | --keep)
            [ $# -ge 2 ] || { usage >&2; exit 64; }
            declare "${1#--}=$2"
            shift 2
            ;;
        --freeze) freeze=yes; shift ;;
        --help) usage; exit 0 ;;
        *) usage >&2; exit 64 ;;
    esac
done

# The kernel takes no less than a millisecond of 10.
[[ -z $share || $share =~ ^[1-9][0-9]{1,3}$ ]] || { echo "partition.sh: --share wants whole percent of a processor, from 10, not $share" >&2; exit 64; }

program=${AARDVARK:-$(dirname "$0")/../.build/release/aardvark}
[ -x "$program" ] || { echo "partition.sh: $program is not there; make build" >&2; exit 66; }
program=$(realpath "$program")
[ "$(id -u)" = 0 ] || { echo "partition.sh: network namespaces need root" >&2; exit 77; }

name=aardvark-$$
directory=$(mktemp -d)
processes=()
namespaces=()
groups=()

clean() {
    trap - EXIT INT TERM
    for process in "${processes[@]}"; do kill -9 "$process" 2>/dev/null || true; done
    { wait; } 2>/dev/null
    for group in "${groups[@]}"; do rmdir "$group" 2>/dev/null || true; done
    # The veth pairs and the switches go with their namespaces.
    for namespace in "${namespaces[@]}"; do ip netns delete "$namespace" 2>/dev/null || true; done
    rm -rf "$directory"
}
trap clean EXIT
trap 'exit 130' INT TERM

# Makes a control group (of either version) for replica $1, which bounds its time on the processors.
add_group() {
    local root=/sys/fs/cgroup/cpu
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        root=/sys/fs/cgroup
        echo +cpu >"$root/cgroup.subtree_control"
    fi
    local group=$root/$name-r$1
    mkdir "$group"
    groups+=("$group")
    # In microseconds, of each 10 milliseconds.
    if [ -e "$group/cpu.max" ]; then
        echo "$((share * 100)) 10000" >"$group/cpu.max"
    else
        echo 10000 >"$group/cpu.cfs_period_us"
        echo "$((share * 100))" >"$group/cpu.cfs_quota_us"
    fi
}

in_namespace() { ip netns exec "$name-$1" "${@:2}"; }

add_namespace() {
    namespaces+=("$name-$1")
    ip netns add "$name-$1"
    in_namespace "$1" ip link set lo up
}

# Connects member $1, which has address $2, to switch $3.
connect() {
    add_namespace "$1"
    ip link add eth0 netns "$name-$1" type veth peer name "$1" netns "$name-switch"
    in_namespace "$1" ip address add "$2/24" dev eth0
    in_namespace "$1" ip link set eth0 up
    in_namespace switch ip link set "$1" master "$3" up
}

build_network() {
    add_namespace switch
    in_namespace switch ip link add near type bridge
    in_namespace switch ip link add far type bridge
    in_namespace switch ip link add cable-near type veth peer name cable-far
    for side in near far; do
        in_namespace switch ip link set "$side" up
        in_namespace switch ip link set "cable-$side" master "$side" up
    done
    for ((replica = 0; replica < replicas; replica++)); do
        case ",$isolate," in
            *",$replica,"*) connect "r$replica" "10.77.0.$((replica + 1))" far ;;
            *) connect "r$replica" "10.77.0.$((replica + 1))" near ;;
        esac
    done
    connect clients 10.77.0.100 near
}

# Sets the cable up or down. Its two ends forward or do not, but no member sees its own interface change.
cable() {
    in_namespace switch ip link set cable-near "$1"
}

# Sends a signal to the replicas that are to be cut off.
signal() {
    for replica in ${isolate//,/ }; do kill "-$1" "${processes[replica]}"; done
}

cut_off() { if [ -n "$freeze" ]; then signal STOP; else cable down; fi; }
heal() { if [ -n "$freeze" ]; then signal CONT; else cable up; fi; }

now() { date +%s.%N; }

# What each replica has executed, one number a line; nothing for one that does not answer.
executed() {
    in_namespace clients "$program" status --cluster "$directory/cluster.yaml" --json 2>/dev/null \
        | awk -F'[:,]' '/"last_executed"/ { print $2 + 0 }' || true
}

wait_until_whole() {
    for ((try = 0; try < 100; try++)); do
        [ "$(executed | wc -l)" = "$replicas" ] && return
        sleep 0.2
    done
    echo "partition.sh: the replicas do not serve; the log of the first:" >&2
    tail -5 "$directory/r0.log" >&2
    exit 1
}

run() {
    local hosts=()
    for ((replica = 0; replica < replicas; replica++)); do hosts+=(--host "10.77.0.$((replica + 1))"); done
    rm -rf "$directory"
    mkdir "$directory"
    "$program" init --replicas "$replicas" --protocol "$protocol" --durability "$durability" --output "$directory" "${hosts[@]}" >/dev/null
    local create=()
    if [ "$durability" != none ]; then create=(--create); fi
    processes=()
    for ((replica = 0; replica < replicas; replica++)); do
        # Not by in_namespace: the process must be the one that is signalled.
        ip netns exec "$name-r$replica" "$program" replica --cluster "$directory/cluster.yaml" --id "$replica" "${create[@]}" \
            >"$directory/r$replica.log" 2>&1 &
        processes+=($!)
        if [ -n "$share" ]; then echo "$!" >"${groups[replica]}/cgroup.procs"; fi
    done
    wait_until_whole
    ip netns exec "$name-clients" "$program" bench --cluster "$directory/cluster.yaml" --workload audit --json --interval 0.1 \
        --clients "$clients" --window "$window" --warmup 2 --seconds $((settle + cut + settle)) \
        >"$directory/report.json" 2>"$directory/bench.log" &
    local bench=$!
    processes+=("$bench")
    sleep $((2 + settle))
    cut_off
    sleep "$cut"
    heal
    local healed level=- target every
    healed=$(now)
    target=$(executed | sort -n | tail -1)
    for ((try = 0; try < settle + 10; try++)); do
        mapfile -t every < <(executed | sort -n)
        if [ "${#every[@]}" = "$replicas" ] && [ "${every[0]}" -ge "$target" ]; then
            level=$(awk -v healed="$healed" -v now="$(now)" 'BEGIN { printf "%.1f", now - healed }')
            break
        fi
        # Asking takes a processor's time from what is measured.
        sleep 1
    done
    local code=0
    wait "$bench" || code=$?
    report "$healed" "$level" "$code"
    if [ -n "$keep" ]; then
        mkdir -p "$keep"
        echo "$healed" >"$directory/healed.log"
        for file in "$directory"/{report.json,*.log}; do
            cp "$file" "$keep/$protocol-${isolate//,/}-$round-$(basename "$file")"
        done
    fi
    for process in "${processes[@]}"; do kill -9 "$process" 2>/dev/null || true; done
    { wait; } 2>/dev/null
}

# Prints one run's line out of the report's samples.
report() {
    awk -v healed="$1" -v level="$2" -v code="$3" -v cut="$cut" -v settle="$settle" '
        # Field names are sorted, so that of one sample its start comes just before its throughput.
        /"started_at_unix_seconds"/ { began = value($0) }
        /"start_seconds"/ { start[count++] = value($0); inSample = 1; next }
        /"throughput_operations_per_second"/ && inSample { rate[count - 1] = value($0) }
        { inSample = 0 }
        /"(acknowledged|unanswered|lost|doubled|invented|contradictions)"/ {
            split($0, words, "\""); audit[words[2]] = value($0)
        }
        function value(line) { sub(/^[^:]*:/, "", line); return line + 0 }
        function mean(from, length_, i, sum, n) {
            for (i = 0; i < count; i++) if (start[i] >= from && start[i] < from + length_) { sum += rate[i]; n++ }
            return n >= length_ * 9 ? sum / n : -1
        }
        END {
            # The order of fields decides what is known when, so all is computed here.
            heal = healed - began
            before = mean(heal - cut - settle, settle - 1)
            back = "-"
            for (i = 0; i < count; i++) {
                if (start[i] >= heal && mean(start[i], 0.5) >= 0.9 * before) { back = start[i] + 0.5 - heal; break }
            }
            least = before
            for (; back != "-" && i < count; i++) {
                second = mean(start[i], 1); if (second >= 0 && second < least) least = second
            }
            if (back != "-") back = sprintf("%.1f", back)
            percent = (before > 0) ? 100 * least / before : 0
            printf("%8.0f operations/s before; 90 %% again after %s s, least second then %3.0f %%; level after %s s; ",
                before, back, percent, level)
            printf("%d acknowledged, %d lost, %d doubled, %d invented, %d contradictions, %d unanswered, exit %d\n",
                audit["acknowledged"], audit["lost"], audit["doubled"], audit["invented"], audit["contradictions"],
                audit["unanswered"], code)
        }' "$directory/report.json"
}

build_network
if [ -n "$share" ]; then
    for ((replica = 0; replica < replicas; replica++)); do add_group "$replica"; done
fi
echo "$protocol, $durability, $replicas replicas, $isolate $([ -n "$freeze" ] && echo frozen || echo cut off) for $cut s, $clients clients with $window requests each"
for ((round = 1; round <= runs; round++)); do run; done
