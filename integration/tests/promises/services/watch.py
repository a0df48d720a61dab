"""Watches an address from the network it is on, until its input ends: who answers ARP for it, and whether it can be reached.

    watch.py DEVICE ADDRESS PORT [PATIENCE]

Prints one JSON array, of three: `answers`, who answered which question (each has a number, so that a late answer is no second one);
`announcements`, whom unasked packets named, in order; `connects`, one for each try: seconds, and the name that was answered, or null.
"""

import json
import socket
import struct
import sys
import threading
import time

# Between two questions, and between two connections.
PAUSE_SECONDS = 0.02
# For a connection; a lost SYN is sent again after one second.
PATIENCE_SECONDS = 0.4
# RFC 2544: addresses of nobody. Question n is asked as the nth of them.
ASKERS = struct.unpack("!I", socket.inet_aton("198.18.0.0"))[0]
BROADCAST = b"\xff" * 6
ARP = struct.Struct("!6s6sH HHBBH 6s4s6s4s")
(REQUEST, REPLY) = (1, 2)


def main(device, address, port, patience=PATIENCE_SECONDS):
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    raw.bind((device, 0x0806))
    stop = threading.Event()
    seen = {"answers": [], "announcements": [], "connects": []}
    tasks = [(ask, raw, address, stop), (listen, raw, address, stop, seen), (connect, address, port, float(patience), stop, seen)]
    threads = [threading.Thread(target=task, args=args) for task, *args in tasks]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps(list(seen.values())))


def ask(raw, address, stop):
    target = socket.inet_aton(address)
    number = 0
    while not stop.is_set():
        # A bridge changes its own with its ports.
        own = raw.getsockname()[4]
        asker = struct.pack("!I", ASKERS + number)
        raw.send(ARP.pack(BROADCAST, own, 0x0806, 1, 0x0800, 6, 4, REQUEST, own, asker, bytes(6), target))
        number += 1
        time.sleep(PAUSE_SECONDS)


def listen(raw, address, stop, seen):
    target = socket.inet_aton(address)
    raw.settimeout(0.2)
    while not stop.is_set():
        try:
            frame, (_, _, packet_type, *_) = raw.recvfrom(2048)
        except TimeoutError:
            continue
        (_, _, _, _, _, _, _, operation, sender, sender_ip, _, target_ip) = ARP.unpack(frame[: ARP.size])
        if packet_type == socket.PACKET_OUTGOING or sender_ip != target:
            continue
        number = struct.unpack("!I", target_ip)[0] - ASKERS
        if operation == REPLY and 0 <= number < 1 << 17:
            seen["answers"].append([number, sender.hex(":")])
        elif sender_ip == target_ip:
            seen["announcements"].append(sender.hex(":"))


def connect(address, port, patience, stop, seen):
    while not stop.is_set():
        began, name = time.monotonic(), None
        try:
            with socket.create_connection((address, int(port)), patience) as client:
                client.sendall(b"who\n")
                name = client.recv(2048).decode().split()[0]
        except (OSError, IndexError):
            pass
        seen["connects"].append([began, time.monotonic(), name])
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
