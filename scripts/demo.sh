#!/bin/bash
# Two gateways and two hosts in network namespaces of their own, traffic through the tunnel, and what crossed the wire:
#
#   host-a ---- lan [gw-a] wan ==== ESP ==== wan [gw-b] lan ---- host-b
#
# Leaves nothing behind. Where namespaces are not permitted, the same is shown with capture files.
#
# With --offload each gateway's ports are those of a NIC in software (docs/IXGBE-MODEL.md) under DPDK's own driver, and the NICs
# encrypt and decrypt. WIRE=FILE keeps what crossed the wire.
set -euo pipefail
cd "$(dirname "$0")/.."

offload=false
[[ ${1:-} != --offload ]] || offload=true
wire=${WIRE:-}

gateway=${VPN_GW:-.build/release/vpn-gw}
model=${IXGBE_MODEL:-.build/release/ixgbe-model}
seconds=4 # of iperf3 each way
work=$(mktemp -d)
tag=vpn-gw-$$ # of the namespaces' names
pids=()
export WIRESHARK_CONFIG_DIR=$work # tshark as it comes, whatever its user made of it

if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
indent() { sed 's/^/    /'; }

clean() {
    local pid name
    {
        for pid in "${pids[@]}"; do kill -KILL "$pid" || true; done
        wait || true
        for name in host-a gw-a gw-b host-b; do ip netns delete "$tag-$name" || true; done
    } 2>/dev/null
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

fail() {
    echo "demo: $*" >&2
    tail -n 5 "$work"/*.log >&2 2>/dev/null
    exit 1
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local tries=$(($1 * 20)) what=$2
    shift 2
    until "$@" 2>/dev/null; do
        ((tries-- > 0)) || fail "$what: it did not happen in time"
        sleep 0.05
    done
}

new_key() { echo "0x$(head -c 20 /dev/urandom | od -An -v -tx1 | tr -d ' \n')"; }

# site NAME HERE THERE CORE OUTBOUND_KEY INBOUND_KEY: the site file of gateway number HERE.
site() {
    local name=$1 here=$2 there=$3 core=$4
    # A ring of 4096 frames takes what a TCP sender bursts; the default's 512 lose some of it. The wan port goes through the
    # interface's queue, so that a capture there sees both directions.
    local lan="net_af_packet0,iface=lan,framecnt=4096" wan="net_af_packet1,iface=wan,framecnt=4096,qdisc_bypass=0"
    if $offload; then lan=0000:81:00.0 wan=0000:81:00.1; fi
    (umask 077 && cat >"$work/$name.toml") <<TOML
[gateway]
name = "$name"
state_directory = "$work/$name-state"
control_socket = "$work/$name.sock"

[dpdk]
worker_cores = [$core]
huge_pages = $huge_pages

[[port]]
name = "lan"
role = "protected"
device = "$lan"
addresses = ["10.0.$here.1/24"]

[[port]]
name = "wan"
role = "unprotected"
device = "$wan"
addresses = ["192.0.2.$here/24"]

[[tunnel]]
name = "to-site-$there"
local_address = "192.0.2.$here"
remote_address = "192.0.2.$there"
local_subnets = ["10.0.$here.0/24"]
remote_subnets = ["10.0.$there.0/24"]
offload = "$($offload && echo required || echo off)"

[tunnel.outbound]
spi = 0x${here}001
key = "$5"

[tunnel.inbound]
spi = 0x${there}001
key = "$6"
TOML
}

# tshark with both SAs: it decrypts, and checks every ICV.
decrypting_tshark() {
    local cipher='"AES-GCM with 16 octet ICV [RFC4106]"'
    tshark -o esp.enable_encryption_decode:TRUE -o esp.enable_authentication_check:TRUE \
        -o "uat:esp_sa:\"IPv4\",\"192.0.2.1\",\"192.0.2.2\",\"0x00001001\",$cipher,\"$key_ab\",\"NULL\",\"\"" \
        -o "uat:esp_sa:\"IPv4\",\"192.0.2.2\",\"192.0.2.1\",\"0x00002001\",$cipher,\"$key_ba\",\"NULL\",\"\"" "$@" 2>/dev/null
}

# show_wire CAPTURE: its protocols, as whoever is on the wire sees it.
show_wire() {
    tshark -r "$1" -T fields -e frame.protocols 2>/dev/null | sort | uniq -c | sort -rn |
        awk '{ printf "    %6d frames  %s\n", $1, $2 }'
}

# show_inside CAPTURE: its first packets and the verdict on every ICV, as whoever has the keys sees it.
show_inside() {
    decrypting_tshark -r "$1" -Y esp -c 20 -T fields -E separator=' ' -e esp.spi -e esp.sequence -e esp.icv_good \
        -e ip.src -e ip.dst -e _ws.col.Info |
        awk '{ split($4, from, ","); split($5, to, ","); good = $3 ~ /^(1|True)$/ ? "ICV good" : "ICV BAD"
               info = ""; for (i = 6; i <= NF; i++) info = info " " $i
               printf "    SPI %s  number %s  %s   %s -> %s %s\n", $1, $2, good, from[2], to[2], info }'
    local all good
    all=$(decrypting_tshark -r "$1" -Y esp -T fields -e frame.number | wc -l)
    good=$(decrypting_tshark -r "$1" -Y 'esp.icv_good == 1' -T fields -e frame.number | wc -l)
    echo "    ICV good in $good of $all ESP packets"
    ((all > 0 && good == all)) || fail "tshark could not decrypt everything"
}

# Cores that this process may use, the last two of them: the first ones have the interrupts. With one core both share it.
choose_cores() {
    local ranges cores=() range
    IFS=, read -ra ranges <<<"$(awk '/^Cpus_allowed_list/ { print $2 }' /proc/self/status)"
    for range in "${ranges[@]}"; do mapfile -t -O ${#cores[@]} cores < <(seq "${range%-*}" "${range#*-}"); done
    core_a=${cores[-1]} core_b=${cores[-1]}
    ((${#cores[@]} == 1)) || core_a=${cores[-2]}
}

make_network() {
    local name
    for name in host-a gw-a gw-b host-b; do
        ip netns add "$tag-$name"
        # Nothing but what we send: no IPv6 neighbour discovery.
        ip netns exec "$tag-$name" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    done
    ip -n "$tag-host-a" link add eth0 type veth peer name lan netns "$tag-gw-a"
    ip -n "$tag-host-b" link add eth0 type veth peer name lan netns "$tag-gw-b"
    ip -n "$tag-gw-a" link add wan type veth peer name wan netns "$tag-gw-b"
    local end
    for end in host-a/eth0 gw-a/lan gw-a/wan gw-b/wan gw-b/lan host-b/eth0; do
        # A packet that the kernel left unfinished for its NIC (checksum, segmentation) would reach DPDK unfinished.
        ip netns exec "$tag-${end%/*}" ethtool -K "${end#*/}" tx off tso off gso off gro off >/dev/null
        ip -n "$tag-${end%/*}" link set "${end#*/}" up
    done
    # The gateways' interfaces get no addresses: they are vpn-gw's, not the kernel's.
    ip -n "$tag-host-a" address add 10.0.1.10/24 dev eth0
    ip -n "$tag-host-b" address add 10.0.2.10/24 dev eth0
    ip -n "$tag-host-a" route add default via 10.0.1.1
    ip -n "$tag-host-b" route add default via 10.0.2.1
}

# start NAMESPACE LOG COMMAND...: in the background.
start() {
    ip netns exec "$tag-$1" "${@:3}" >"$work/$2.log" 2>&1 &
    pids+=($!)
    last_pid=$!
}

# start_gateway NAME NUMBER: with --offload on a NIC of its own, whose ports are cabled to the namespace's interfaces. The model looks
# at every frame that leaves its port 1, and ends with 76 when one should have been ESP.
start_gateway() {
    local run=("$gateway" --config "$work/$1.toml")
    if $offload; then
        run=("$model" run --serial "$2" --wire "0=packet:lan" --wire "1=packet:wan" --protect 1 --report "$work/$1.json" -- "${run[@]}")
    fi
    start "$1" "$1" "${run[@]}"
}

# show_offload NAME: where the SAs of a gateway are.
show_offload() {
    echo "    $1"
    inside "$1" "$gateway" show offload --socket "$work/$1.sock" | indent | indent
}

# show_nic NAME: what the NIC's wan port did, by its own count.
show_nic() {
    grep -o '"device":"0000:81:00.1".*' "$work/$1.json" | grep -oE '"(encrypted|decrypted|decrypt_failed|clear_text|left_unencrypted|empty_key)":[0-9]+' |
        awk -F'[":]+' -v name="$1" '{ printf "%s%s %s", NR == 1 ? "    " name ": " : ", ", $2, $3 } END { print "" }'
}

inside() { ip netns exec "$tag-$1" "${@:2}"; }

iperf() {
    local line
    line=$(inside host-a iperf3 -c 10.0.2.10 -t $seconds -f m "${@:2}" | awk '
        / sender/ { retransmitted = $9 }
        / receiver/ { printf "%s %s, %d segments sent again", $7, $8, retransmitted }') || fail "iperf3"
    echo "    $1: $line"
}

live() {
    make_network
    huge_pages=$offload
    local free
    free=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0)
    ((free >= 256)) && huge_pages=true
    choose_cores
    key_ab=$(new_key) key_ba=$(new_key)
    site gw-a 1 2 "$core_a" "$key_ab" "$key_ba"
    site gw-b 2 1 "$core_b" "$key_ba" "$key_ab"

    title "host-a 10.0.1.10 -- [gw-a] 192.0.2.1 ==== ESP ==== 192.0.2.2 [gw-b] -- 10.0.2.10 host-b"
    start gw-a capture tcpdump -i wan -n -U -Z root -c 4000 -w "$work/wan.pcap"
    start gw-a others tcpdump -i wan -n -U -Z root -w "$work/others.pcap" 'not arp and not ip proto 50'
    local others=$last_pid a b
    wait_for 10 "tcpdump" grep -q 'listening on' "$work/capture.log"
    wait_for 10 "tcpdump" grep -q 'listening on' "$work/others.log"
    start_gateway gw-a 1
    a=$last_pid
    start_gateway gw-b 2
    b=$last_pid
    wait_for 60 "gw-a" grep -q ' runs: ' "$work/gw-a.log"
    wait_for 60 "gw-b" grep -q ' runs: ' "$work/gw-b.log"
    sed -n 's/.*\(gateway gw-.* runs: \)/\1/p' "$work"/gw-?.log | indent

    title "ping from host-a to host-b"
    inside host-a ping -c 5 -i 0.2 -W 2 10.0.2.10 | indent

    title "A packet that does not fit: path MTU discovery"
    { inside host-a ping -c 1 -W 2 -M 'do' -s 1472 10.0.2.10 || true; } | grep -E 'mtu|bytes from' | indent
    inside host-a ping -c 1 -W 2 -M 'do' -s 1418 10.0.2.10 | grep 'bytes from' | indent

    title "TCP, $seconds s each way"
    start host-b iperf iperf3 -s --forceflush
    wait_for 10 "iperf3" grep -q 'listening' "$work/iperf.log"
    iperf 'host-a to host-b'
    iperf 'host-b to host-a' -R

    if $offload; then
        title "Who encrypts"
        show_offload gw-a
        show_offload gw-b
    fi
    title "What crossed the wire, the first frames"
    show_wire "$work/wan.pcap"
    title "The same with the keys"
    show_inside "$work/wan.pcap"
    kill "$others"
    wait "$others" || true
    title "Frames other than ESP and ARP on the wire, in all that time"
    echo "    $(tshark -r "$work/others.pcap" 2>/dev/null | wc -l)"

    title "The gateways stop (SIGTERM); where every packet went"
    kill -TERM "$a" "$b"
    wait "$a" || fail "gw-a ended with exit code $?"
    wait "$b" || fail "gw-b ended with exit code $?"
    local name
    for name in gw-a gw-b; do
        echo "    $name"
        sed -n '/ received /,$ s/^.* vpn-gw: /      /p' "$work/$name.log"
    done
    if $offload; then
        title "What the NICs did (each tested its engine with one packet out and two in before it started)"
        show_nic gw-a
        show_nic gw-b
    fi
    if [[ -n $wire ]]; then cp "$work/wan.pcap" "$wire" && echo && echo "the wire: $wire"; fi
}

by_capture_files() {
    huge_pages=false core_a=0
    key_ab=$(new_key) key_ba=$(new_key)
    site gw-a 1 2 $core_a "$key_ab" "$key_ba"
    site gw-b 2 1 $core_a "$key_ba" "$key_ab"

    title "host-a's packets -> vpn-gw pcap (gw-a) -> ESP -> vpn-gw pcap (gw-b) -> host-b's packets"
    local number
    for number in {1..20}; do
        # One datagram in the form that text2pcap reads: an offset, and octets in hexadecimal.
        printf '0000 %s\n' "$(printf 'packet %02d through the tunnel' "$number" | od -An -v -tx1 | tr -d '\n')"
    done >"$work/clear.txt"
    text2pcap -q -4 10.0.1.10,10.0.2.10 -u 5000,6000 "$work/clear.txt" "$work/clear.pcap" 2>/dev/null
    "$gateway" pcap --config "$work/gw-a.toml" --in "lan=$work/clear.pcap" --out "wan=$work/wan.pcap" 2>"$work/gw-a.log"
    "$gateway" pcap --config "$work/gw-b.toml" --in "wan=$work/wan.pcap" --out "lan=$work/out.pcap" 2>"$work/gw-b.log"

    title "What would cross the wire"
    show_wire "$work/wan.pcap"
    title "The same with the keys"
    show_inside "$work/wan.pcap"

    local name
    for name in clear out; do
        tshark -r "$work/$name.pcap" -T fields -e ip.src -e ip.dst -e udp.srcport -e udp.dstport -e udp.payload \
            2>/dev/null >"$work/$name.fields"
    done
    title "What came out against what went in"
    cmp -s "$work/clear.fields" "$work/out.fields" || fail "they differ"
    echo "    the same $(wc -l <"$work/out.fields") packets"
    title "Where every packet went"
    for name in gw-a gw-b; do
        echo "    $name"
        sed -n '/^received /,$ s/^/      /p' "$work/$name.log"
    done
}

may_make_networks() {
    ip netns add "$tag-host-a" && ip netns exec "$tag-host-a" ip link add eth0 type veth peer name eth1 &&
        ip netns delete "$tag-host-a"
}

[[ -x $gateway ]] || fail "no $gateway: make build makes it"
if may_make_networks 2>"$work/namespaces.log"; then
    live
else
    echo "Network namespaces are not permitted here ($(tail -n 1 "$work/namespaces.log")):"
    echo "the demonstration goes by capture files."
    by_capture_files
fi
