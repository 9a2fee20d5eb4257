#!/bin/sh
# The first process of a User-Mode Linux guest that has one pair of SAs of every kind. The host's file system is its root,
# read-only. The kernel command line gives SETUP (ip commands, one a line: see guest.py), SCRIPT (a shell script, as `vpn-gw
# export linux` prints it; optional), TRAFFIC (the path of traffic.py) and PORTS (the last of the TCP ports from 6001 on which
# it takes a transfer each).
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/modules/lib && ln -s /usr/lib/uml/modules /run/modules/lib/modules
# seqiv needs a random generator, hence drbg and what that needs; without them the kernel refuses the SA.
modprobe -d /run/modules -a xfrm_user esp4 esp6 ah4 ah6 gcm seqiv ghash-generic ctr drbg hmac sha512_generic \
    sha256_generic jitterentropy_rng chacha20poly1305 chacha_generic poly1305_generic 2>/dev/null

ip link set lo up
ip link set eth0 up
while read -r line; do
    # shellcheck disable=SC2086 # a line is a command's words
    ip $line || echo "guest: the kernel refused: ip $line"
done < "$SETUP"
if [ -n "$SCRIPT" ]; then sh "$SCRIPT" 2>&1 || echo "guest: the kernel refused a line of $SCRIPT"; fi

# ESP in UDP goes through a socket that says so: UDP_ENCAP is option 100, ESP in UDP is 2.
/usr/bin/python3 -c '
import signal, socket
for family in (socket.AF_INET, socket.AF_INET6):
    opened = socket.socket(family, socket.SOCK_DGRAM)
    globals()[f"kept{family}"] = opened
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.setsockopt(socket.IPPROTO_UDP, 100, 2)
    opened.bind(("", 4500))
print("guest: ESP in UDP", flush=True)
signal.pause()
' 2>&1 &

# One process for all: forty of them are more than the guest's memory holds.
if [ "$PORTS" -gt 6000 ]; then /usr/bin/python3 "$TRAFFIC" receive 6001 240 "$PORTS" 2>&1 & fi
echo "guest: ready"
# Until the host has seen all it wants to: then it connects.
/usr/bin/python3 "$TRAFFIC" receive 6000 240
echo "guest: SAs"
ip -s xfrm state | grep -E 'spi|replay|bytes|failed|oseq'
echo "guest: errors"
awk '$2 > 0' /proc/net/xfrm_stat
echo "guest: end"
# An init that ends is a panic: SIGTERM to the guest's kernel ends both.
while :; do sleep 60; done
