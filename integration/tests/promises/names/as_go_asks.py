"""Says what a name is as Go's own resolver finds it: names by the search list and `ndots`, A and AAAA at the same time from a socket each,
with EDNS (1232 bytes), and over TCP what was cut off. One address a line; `lost` for a name without any."""

import random
import select
import socket
import struct
import sys

from message import encoded, skip_name

KINDS = {1: socket.AF_INET, 28: socket.AF_INET6}
# The root, OPT, 1232 bytes.
EDNS = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)


def configuration():
    words = [line.split() for line in open("/etc/resolv.conf") if line.split()]
    servers = [line[1] for line in words if line[0] == "nameserver"]
    search = [name for line in words if line[0] == "search" for name in line[1:]]
    options = [option for line in words if line[0] == "options" for option in line[1:]]
    ndots = next((int(option[6:]) for option in options if option.startswith("ndots:")), 1)
    return servers[0], search, ndots


def candidates(name, search, ndots):
    if name.endswith("."):
        return [name]
    below = [f"{name}.{domain}." for domain in search]
    return [f"{name}."] + below if name.count(".") >= ndots else below + [f"{name}."]


def query(name, kind):
    number = random.randrange(1 << 16)
    return struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 1) + encoded(name) + struct.pack(">HH", kind, 1) + EDNS


def addresses(message, kind):
    at = skip_name(message, 12) + 4
    found = []
    for _ in range(struct.unpack(">H", message[6:8])[0]):
        at = skip_name(message, at)
        is_kind, _, _, length = struct.unpack(">HHIH", message[at : at + 10])
        if is_kind == kind:
            found.append(socket.inet_ntop(KINDS[kind], message[at + 10 : at + 10 + length]))
        at += 10 + length
    return found


def whole(stream, length):
    data = b""
    while len(data) < length:
        more = stream.recv(length - len(data))
        if not more:
            raise ConnectionError("cut off")
        data += more
    return data


def over_tcp(server, asked):
    with socket.create_connection((server, 53), 5) as stream:
        stream.sendall(struct.pack(">H", len(asked)) + asked)
        return whole(stream, struct.unpack(">H", whole(stream, 2))[0])


def both(server, name):
    waiting = {}
    for kind in KINDS:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect((server, 53))
        asked = query(name, kind)
        client.send(asked)
        waiting[client] = (kind, asked)
    found = []
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], 5)
        if not ready:
            sys.exit("no answer in time")
        for client in ready:
            kind, asked = waiting.pop(client)
            message = client.recv(4096)
            if message[2] & 2:
                message = over_tcp(server, asked)
            # As Go does, SERVFAIL is taken for none: what is outside the cluster may have nobody who knows.
            if message[:2] != asked[:2] or message[3] & 15 not in (0, 2, 3):
                sys.exit(f"an answer with code {message[3] & 15}")
            found += addresses(message, kind)
    return found


def main():
    server, search, ndots = configuration()
    for name in candidates(sys.argv[1], search, ndots):
        found = both(server, name)
        if found:
            print("\n".join(found))
            return
    print("lost")


main()
