#!/usr/bin/python3
"""Stands in for vpod-dns where a test is about how it is run: says it is ready, and answers every question by the number in VERSION."""

import http.server
import os
import signal
import socket
import sys
import threading

VERSION = 1
READY = "/ready"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == READY else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def answer(question):
    # The question again, with one A record: name by a pointer, class IN, TTL 5.
    header = question[:2] + bytes([0x84, 0]) + bytes([0, 1, 0, 1, 0, 0, 0, 0])
    end = 12
    while question[end]:
        end += question[end] + 1
    asked = question[12 : end + 5]
    record = bytes([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, VERSION])
    return header + asked + record


def rights():
    wanted = ("CapEff", "CapBnd", "NoNewPrivs")
    with open("/proc/self/status") as status:
        found = [line.split() for line in status if line.startswith(wanted)]
    return " ".join(f"{key}{value}" for key, value in found)


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with open(sys.argv[2]) as config:
        settings = config.read()
    path = next(line.split('"')[1] for line in settings.splitlines() if line.startswith("socket"))
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(path)
        hello = control.recv(4)
    print(f"uid {os.getuid()} groups {os.getgroups()} {rights()} hello {len(hello)}", flush=True)
    print(settings, flush=True)
    threading.Thread(target=http.server.HTTPServer(("0.0.0.0", 8181), Handler).serve_forever, daemon=True).start()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 53))
    while True:
        question, client = server.recvfrom(4096)
        server.sendto(answer(question), client)


main()
