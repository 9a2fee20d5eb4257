#!/bin/bash
# The cases of docs/HARDWARE.md on two real ports that are joined by a cable: takes them from the kernel, runs, gives them back.
#
#   scripts/hw-test.sh 0000:03:00.0 0000:03:00.1 [PYTEST OPTION...]
set -euo pipefail
cd "$(dirname "$0")/.."

sysfs=${SYSFS:-/sys}
pages=512 # of 2 MiB, free
out=hw-test-out
devices=$sysfs/bus/pci/devices drivers=$sysfs/bus/pci/drivers
taken=() # "PORT DRIVER" of each port that is not the kernel's any more
raised=''

say() { echo "hw-test: $*" >&2; }
refuse() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

# driver_of PORT: nothing when no driver has it.
driver_of() { basename "$(readlink "$devices/$1/driver" 2>/dev/null || true)"; }

# interface_of PORT: the kernel's name of it; nothing when the kernel has none.
interface_of() { { find "$devices/$1/net" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null || true; } | head -n 1; }

# bind PORT DRIVER
bind() {
    [[ ! -e $devices/$1/driver ]] || echo "$1" >"$devices/$1/driver/unbind"
    echo "$2" >"$devices/$1/driver_override"
    [[ -z $2 ]] || echo "$1" >"$drivers/$2/bind"
    # What comes later finds the driver that it would have.
    echo >"$devices/$1/driver_override"
}

give_back() {
    local item
    for item in "${taken[@]}"; do
        read -r port driver <<<"$item"
        say "$port goes back to ${driver:-no driver}"
        bind "$port" "$driver" || say "$port: that failed; echo $port > $drivers/${driver:-DRIVER}/bind"
    done
    [[ -z $raised ]] || echo "$raised" >/proc/sys/vm/nr_hugepages
}

check_port() {
    local port=$1 name
    [[ $port =~ ^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$ ]] ||
        refuse 64 "\"$port\" is no PCI address like 0000:03:00.0; lspci -D | grep -i ethernet lists them"
    [[ -d $devices/$port ]] || refuse 69 "there is no device $port; lspci -D | grep -i ethernet lists them"
    [[ $(<"$devices/$port/class") == 0x0200* ]] || refuse 69 "$port is no Ethernet controller"
    [[ $(<"$devices/$port/vendor") == 0x8086 ]] || refuse 69 "$port is not Intel's: only 82599 and X540 have the engine"
    name=$(interface_of "$port")
    if [[ -n $name && -n $(ip -o address show dev "$name" scope global) ]]; then
        refuse 69 "$port is $name, and it has addresses: is it in use? ip address flush dev $name says that it is not"
    fi
}

# Whether a frame that leaves one interface comes in by the other, both ways. Not tried where the kernel does not have both.
check_cable() {
    local first second name
    first=$(interface_of "$1") second=$(interface_of "$2")
    if [[ -z $first || -z $second ]]; then
        say "the kernel does not have both ports, so nothing tells whether they are joined; without a link the cases fail"
        return
    fi
    for name in "$first" "$second"; do ip link set "$name" up; done
    /usr/bin/python3 - "$first" "$second" <<'PYTHON' || refuse 69 "$1 ($first) and $2 ($second) are not joined: put a cable between them"
import socket, sys, time

ETHERTYPE = 0x88B5  # IEEE 802's for experiments


def comes_through(sender: str, receiver: str) -> bool:
    opened = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE)) for _ in range(2)]
    opened[0].bind((sender, ETHERTYPE))
    opened[1].bind((receiver, ETHERTYPE))
    opened[1].settimeout(0.2)
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\1" + ETHERTYPE.to_bytes(2, "big") + f"{sender} to {receiver}".encode().ljust(50)
    deadline = time.monotonic() + 10  # a link takes seconds to come up
    while time.monotonic() < deadline:
        try:
            opened[0].send(frame)
            if opened[1].recv(2048)[:64] == frame[:64]:
                return True
        except OSError:
            time.sleep(0.2)
    return False


first, second = sys.argv[1:]
sys.exit(0 if comes_through(first, second) and comes_through(second, first) else 1)
PYTHON
}

need_pages() {
    local free total
    free=$(<"$sysfs/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    ((free < pages)) || return 0
    total=$(</proc/sys/vm/nr_hugepages)
    raised=$total
    echo $((total + pages - free)) >/proc/sys/vm/nr_hugepages
    free=$(<"$sysfs/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    ((free >= pages)) || refuse 71 "$pages hugepages of 2 MiB are needed, and there is room for $free"
}

choose_driver() {
    if [[ -n $(ls "$sysfs/kernel/iommu_groups" 2>/dev/null) ]]; then
        driver=vfio-pci
    else
        driver=uio_pci_generic
        say "no IOMMU: $driver it is, and the NIC can write to all memory"
    fi
    [[ -d $drivers/$driver ]] || modprobe "$driver" || refuse 69 "no driver $driver: it comes with the kernel's own modules"
}

(($# >= 2)) || refuse 64 "usage: scripts/hw-test.sh PORT PORT, or make hw-test PORTS=\"0000:03:00.0 0000:03:00.1\""
ports=("$1" "$2")
shift 2
[[ ${ports[0]} != "${ports[1]}" ]] || refuse 64 "two ports are needed, joined by a cable, and ${ports[0]} is one"
for port in "${ports[@]}"; do check_port "$port"; done
((EUID == 0)) || refuse 77 "taking ports from the kernel needs root: sudo make hw-test PORTS=\"${ports[*]}\""
scripts/dependencies.sh demo test
trap give_back EXIT
trap 'exit 130' INT TERM
need_pages
check_cable "${ports[@]}"
choose_driver
for port in "${ports[@]}"; do
    taken+=("$port $(driver_of "$port")")
    bind "$port" "$driver"
done
rm -rf "$out"
VPN_GW=${VPN_GW:-$PWD/.build/release/vpn-gw} VPNGW_HW_PORTS="${ports[*]}" .build-python/bin/python -m pytest \
    Tests/EndToEnd/hardware -v --tb=short -p no:cacheprovider --basetemp "$out" "$@"
