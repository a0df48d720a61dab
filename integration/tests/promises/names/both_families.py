"""Asks for A and AAAA at once from one socket, as Go's and musl's resolvers do, and says what each is answered."""

import random
import socket
import struct
import sys

from message import encoded, skip_name

KINDS = {1: "A", 28: "AAAA"}


def said(message):
    code, answers = message[3] & 15, struct.unpack(">H", message[6:8])[0]
    if code or not answers:
        return {0: "NODATA", 3: "NXDOMAIN"}.get(code, f"code {code}")
    at = skip_name(message, 12) + 4
    at = skip_name(message, at)
    length = struct.unpack(">H", message[at + 8 : at + 10])[0]
    return ".".join(str(byte) for byte in message[at + 10 : at + 10 + length])


def main():
    server, name = sys.argv[1:]
    asked = encoded(name)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.connect((server, 53))
    waiting = {}
    for kind in KINDS:
        number = random.randrange(1 << 16)
        waiting[number] = kind
        client.send(struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + asked + struct.pack(">HH", kind, 1))
    while waiting:
        message = client.recv(4096)
        kind = waiting.pop(struct.unpack(">H", message[:2])[0])
        print(KINDS[kind], said(message))


main()
