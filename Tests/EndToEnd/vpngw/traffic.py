#!/usr/bin/env python3
"""Traffic whose content is compared, for namespaces and guests: needs nothing but Python's own library, and root for echo.

    traffic.py echo ADDRESS FIRST LAST [nudge]  one ICMP echo of every payload size; "echoed N" when all came back as they
                                              left; "nudge": with a question of another kind every second until they do
    traffic.py receive PORT [SECONDS [LAST]]  one TCP connection, waited for so long, on this port or on each up to the last;
                                              "listening", then "received OCTETS SHA256" for each
    traffic.py send ADDRESS PORT OCTETS       the other end; "sent OCTETS SHA256"
    traffic.py blast ADDRESS COUNT            UDP datagrams that nobody answers
    traffic.py number ADDRESS PORT RATE [SIZE]  numbered UDP datagrams, so many a second, until SIGTERM, of 64 octets or of all
                                              sizes up to this; "numbered N"
    traffic.py count PORT                     their other end, until SIGTERM; "counted N, L lost, R reordered, D doubled"
"""

import hashlib
import os
import select
import signal
import socket
import struct
import sys
import time

SECONDS = 60
WINDOW = 32


def checksum(octets: bytes) -> int:
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(address: str, first: int, last: int, nudge: str = "") -> str:
    """A window of questions at a time; every answer must carry its question's payload.

    The first one goes alone: while a router asks who the next hop is, it keeps few packets.
    """
    identifier = os.getpid() & 0xFFFF
    is_ipv6 = ":" in address
    question, reply = (128, 129) if is_ipv6 else (8, 0)
    raw = (socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) if is_ipv6
           else socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    raw.settimeout(0.2)
    sizes = list(range(first, last + 1))
    for start in (0, *range(1, len(sizes), WINDOW)):
        waiting = {}
        for size in sizes[start:start + WINDOW if start else 1]:
            payload = os.urandom(size)
            header = struct.pack("!BBHHH", question, 0, 0, identifier, size)
            # The kernel makes and checks ICMPv6's checksum, which covers addresses (RFC 3542 section 3.1).
            packet = header + payload
            if not is_ipv6:
                packet = header[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
            raw.sendto(packet, (address, 0))
            waiting[size] = payload
        asked = time.monotonic()
        deadline = asked + 20
        while waiting:
            now = time.monotonic()
            if now > deadline:
                sys.exit(f"no answer from {address} for sizes {sorted(waiting)}")
            if nudge and now > asked + 1:
                header = struct.pack("!BBHHH", question, 0, 0, identifier ^ 0xFFFF, 0)
                raw.sendto(header[:2] + struct.pack("!H", checksum(header)) + header[4:], (address, 0))
                asked = now
            try:
                answer = raw.recv(65535)
            except TimeoutError:
                continue
            message = answer if is_ipv6 else answer[(answer[0] & 15) * 4:]
            kind, code, _, number, size = struct.unpack("!BBHHH", message[:8])
            if (kind, code, number) != (reply, 0, identifier):
                continue
            if waiting.pop(size, None) != message[8:]:
                sys.exit(f"the answer of size {size} is not what was sent")
            if not is_ipv6 and checksum(message) != 0:
                sys.exit(f"the answer of size {size} has a bad checksum")
    return f"echoed {len(sizes)}"


def listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def receive(port: int, seconds: int = SECONDS, last: int = 0) -> None:
    """One transfer on each port, in the order in which they come."""
    servers = [listen(number) for number in range(port, max(port, last) + 1)]
    print("listening", flush=True)
    while servers:
        ready, _, _ = select.select(servers, [], [], seconds)
        if not ready:
            sys.exit("nobody connected")
        for server in ready:
            with server, server.accept()[0] as connection:
                connection.settimeout(SECONDS)
                digest, count = hashlib.sha256(), 0
                while octets := connection.recv(1 << 16):
                    digest.update(octets)
                    count += len(octets)
                connection.sendall(b"!")  # tells the sender that all of it is here
            print(f"received {count} {digest.hexdigest()}", flush=True)
            servers.remove(server)


def send(address: str, port: int, count: int) -> str:
    octets = os.urandom(count)
    with socket.create_connection((address, port), timeout=SECONDS) as connection:
        connection.sendall(octets)
        connection.shutdown(socket.SHUT_WR)
        if connection.recv(1) != b"!":
            sys.exit("the receiver went away")
    return f"sent {count} {hashlib.sha256(octets).hexdigest()}"


def blast(address: str, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"x" * 100, (address, 9))


ended: list[int] = []


def number(address: str, port: int, rate: int, largest: int = 64) -> str:
    """In bursts of a hundredth of a second, caught up when this process had to wait, at most ten of them at once."""
    sent, start = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((address, port))
        while not ended:
            due = min(int((time.monotonic() - start) * rate) + 1 - sent, rate // 10 + 1)
            for _ in range(due):
                try:
                    octets = sent * 37 % (largest - 7) if largest > 64 else 56
                    sender.send(struct.pack("!Q", sent) + b"." * octets)
                except OSError:  # nobody answers ARP: lost like what is lost on its way
                    pass
                sent += 1
            if due > rate // 10:
                start = time.monotonic() - sent / rate
            time.sleep(0.01)
    return f"numbered {sent}"


def count(port: int) -> str:
    """What arrived, held against numbers from 0 to the highest that came."""
    seen, highest, reordered, doubled = set(), -1, 0, 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE, which Python has no name for
        receiver.bind(("", port))
        receiver.settimeout(0.1)
        print("listening", flush=True)
        while not ended:
            try:
                value, = struct.unpack("!Q", receiver.recv(64)[:8])
            except TimeoutError:
                continue
            doubled += value in seen
            reordered += value < highest
            seen.add(value)
            highest = max(highest, value)
    return f"counted {len(seen)}, {highest + 1 - len(seen)} lost, {reordered} reordered, {doubled} doubled"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    action, *arguments = sys.argv[1:]
    if action == "echo":
        print(echo(arguments[0], int(arguments[1]), int(arguments[2]), *arguments[3:]), flush=True)
    elif action == "receive":
        receive(*map(int, arguments))
    elif action == "send":
        print(send(arguments[0], int(arguments[1]), int(arguments[2])), flush=True)
    elif action == "blast":
        blast(arguments[0], int(arguments[1]))
    elif action == "number":
        print(number(arguments[0], *map(int, arguments[1:])), flush=True)
    elif action == "count":
        print(count(int(arguments[0])), flush=True)
