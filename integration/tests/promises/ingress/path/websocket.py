"""Both ends of a WebSocket, by Debian's python3-websockets.

    websocket.py serve PORT                          repeats what it hears
    websocket.py talk URL ADDRESS PORT [CA_FILE]     says each line of its input, and prints what comes back
"""

import asyncio
import ssl
import sys

import websockets


async def serve(port):
    async def repeat(connection):
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(repeat, "0.0.0.0", int(port)):
        print("ready", flush=True)
        await asyncio.Future()


async def talk(url, address, port, authority=None):
    more = {}
    if authority:
        more["server_hostname"] = url.split("/")[2]
        more["ssl"] = ssl.create_default_context(cafile=authority)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with websockets.connect(url, host=address, port=int(port), ping_interval=None, **more) as connection:
        print("ready", flush=True)
        while line := await reader.readline():
            message = line.decode().strip()
            await connection.send(message)
            print(await connection.recv(), flush=True)


asyncio.run({"serve": serve, "talk": talk}[sys.argv[1]](*sys.argv[2:]))
