#!/bin/sh
# The first process of a User-Mode Linux guest: a real kernel's ESP as the peer of vpn-gw. The host's file system is its root,
# read-only. The kernel command line gives KEY_OUT and KEY_IN as ip xfrm takes them, TRAFFIC (the path of traffic.py) and
# OCTETS (of a TCP transfer).
#
#   guest 10.0.2.10 (on lo), 192.0.2.2 -- eth0 == ESP == 192.0.2.1 [vpn-gw] 10.0.1.1 -- 10.0.1.10
#
# With IDLE it only answers. What it prints is read by live/test_linux_guest.py.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/modules/lib && ln -s /usr/lib/uml/modules /run/modules/lib/modules
# seqiv needs a random generator, hence drbg and what that needs; without them the kernel refuses the SA.
modprobe -d /run/modules -a xfrm_user esp4 gcm seqiv ghash-generic ctr drbg hmac sha512_generic jitterentropy_rng

ip link set lo up
ip link set eth0 up
ip address add 192.0.2.2/24 dev eth0
ip address add 10.0.2.10/32 dev lo
ip route add 10.0.1.0/24 via 192.0.2.1 src 10.0.2.10

sa() { ip xfrm state add src "$1" dst "$2" proto esp spi "$3" mode tunnel replay-window 64 aead 'rfc4106(gcm(aes))' "$4" 128; }
policy() { ip xfrm policy add src "$1" dst "$2" dir "$3" tmpl src "$4" dst "$5" proto esp mode tunnel; }
sa 192.0.2.2 192.0.2.1 0x2001 "$KEY_OUT" && sa 192.0.2.1 192.0.2.2 0x1001 "$KEY_IN" &&
    policy 10.0.2.0/24 10.0.1.0/24 out 192.0.2.2 192.0.2.1 &&
    policy 10.0.1.0/24 10.0.2.0/24 in 192.0.2.1 192.0.2.2 || echo "guest: the kernel refused an SA or a policy"

idle() { while :; do sleep 60; done; }
if [ -n "$IDLE" ]; then
    echo "guest: idle"
    idle
fi

traffic() { /usr/bin/python3 "$TRAFFIC" "$@" 2>&1; }
# Nudge: this kernel's network card at times keeps a frame until the next one comes.
traffic echo 10.0.1.10 0 1400 nudge
traffic receive 5001
traffic send 10.0.1.10 5002 "$OCTETS"
# Until the host has seen all it wants to: then it connects.
traffic receive 5003
echo "guest: SAs"
ip -s xfrm state | grep -E 'spi|replay|bytes|failed'
echo "guest: errors"
awk '$2 > 0' /proc/net/xfrm_stat
echo "guest: end"
# An init that ends is a panic: SIGTERM to the guest's kernel ends both.
idle
