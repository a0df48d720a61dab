"""Asks for a name, one question after the other, and says at which nanosecond of CLOCK_MONOTONIC there was an answer."""

import socket
import struct
import sys
import time

from message import encoded


def main():
    server, name = sys.argv[1:]
    asked = encoded(name)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(1)
    client.connect((server, 53))
    print("ready", flush=True)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        client.send(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + asked + struct.pack(">HH", 1, 1))
        try:
            answer = client.recv(4096)
        except TimeoutError:
            continue
        if struct.unpack(">H", answer[6:8])[0]:
            print(time.monotonic_ns(), flush=True)
            return
        time.sleep(0.002)
    sys.exit("no answer")


main()
