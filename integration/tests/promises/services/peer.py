"""Both ends of the conversations that the promises about services are about.

    peer.py serve NAME PROTOCOL:PORT …                   answer every line or datagram with "NAME CLIENT"
    peer.py drain NAME PROTOCOL:PORT …                  as serve, and goes on for a while after it was told to end
    peer.py ask PROTOCOL ADDRESS PORT COUNT [SOURCE]     COUNT questions, each by a socket of its own
    peer.py talk PROTOCOL ADDRESS PORT [SOURCE_PORT]     a question by one socket for every line of input
    peer.py pairs ADDRESS PORT COUNT                     two datagrams at once by each of COUNT sockets
    peer.py large ADDRESS PORT BYTES COUNT               COUNT datagrams of so many bytes, answered by as many

Every answer is printed as a line; so is an error, as "error NAME".
"""

import errno
import os
import signal
import socket
import sys
import threading

PATIENCE_SECONDS = 3
DRAIN_SECONDS = 2
LARGEST = 65_535


def kind(protocol):
    return {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[protocol]


def serve(name, *ports):
    for protocol, port in (port.split(":") for port in ports):
        listener = socket.socket(socket.AF_INET, kind(protocol))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", int(port)))
        if protocol == "tcp":
            listener.listen(1024)
        serve_one = {"tcp": accept, "udp": answer_datagrams}[protocol]
        threading.Thread(target=serve_one, args=(name, listener)).start()
    print("ready", flush=True)


def accept(name, listener):
    while True:
        connection, client = listener.accept()
        threading.Thread(target=answer_lines, args=(name, connection, client[0])).start()


def answer_lines(name, connection, client):
    try:
        with connection, connection.makefile("rb") as lines:
            for _ in lines:
                connection.sendall(f"{name} {client}\n".encode())
    except OSError:
        pass  # The client's business.


def drain(name, *places):
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(DRAIN_SECONDS))
    serve(name, *places)


def answer_datagrams(name, listener):
    while True:
        question, client = listener.recvfrom(LARGEST)
        answer = f"{name} {client[0]}\n".encode()
        # As long as the question, whose end it has.
        listener.sendto(answer + question[len(answer):], client)


def connect(protocol, address, port, source_port=0, source="0.0.0.0"):
    client = socket.socket(socket.AF_INET, kind(protocol))
    client.settimeout(PATIENCE_SECONDS)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind((source, int(source_port)))
    client.connect((address, int(port)))
    return client


def question(client):
    client.send(b"who\n")
    return client.recv(2048).decode().strip() or "error EOF"


def named(error):
    return "error ETIMEDOUT" if isinstance(error, TimeoutError) else f"error {errno.errorcode[error.errno]}"


def ask(protocol, address, port, count, source="0.0.0.0"):
    for _ in range(int(count)):
        try:
            with connect(protocol, address, port, source=source) as client:
                print(question(client))
        except OSError as error:
            print(named(error))


def talk(protocol, address, port, source_port=0):
    client = connect(protocol, address, port, source_port)
    print("ready", flush=True)
    for _ in sys.stdin:
        try:
            print(question(client), flush=True)
        except OSError as error:
            print(named(error), flush=True)


def pairs(address, port, count):
    lost = 0
    for number in range(int(count)):
        with connect("udp", address, port) as client:
            try:
                client.send(b"A")
                client.send(b"AAAA")
                client.recv(2048)
                client.recv(2048)
            except OSError as error:
                lost += 1
                print(f"pair {number}: {named(error)}")
    print(f"{lost} of {count} lost")


def large(address, port, size, count):
    for _ in range(int(count)):
        with connect("udp", address, port) as client:
            try:
                question = os.urandom(int(size))
                client.send(question)
                answer = client.recv(LARGEST)
                who, _, rest = answer.partition(b"\n")
                is_whole = len(answer) == len(question) and question.endswith(rest)
                print(who.decode() if is_whole else f"error {len(answer)} bytes")
            except OSError as error:
                print(named(error))


if __name__ == "__main__":
    {"serve": serve, "drain": drain, "ask": ask, "talk": talk, "pairs": pairs, "large": large}[sys.argv[1]](*sys.argv[2:])
