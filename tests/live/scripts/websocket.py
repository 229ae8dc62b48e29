"""Given: `serve`, or a port; then a certificate, and for the server its key, or nothing for no TLS. Gives: a server that echoes
on WebSockets, or a client that talks to one (both aiohttp), and at the end how many frames it wrote itself, as JSON. Refuses
to know: whether it is traced.

The client then has a mode: `talk` sends messages of all sizes and waits for each echo; `compressed` the same, compressed;
`late` waits for a line of its input before the last ones; `flood` asks for thousands of messages at once.
"""

import asyncio
import json
import ssl
import sys

from aiohttp import ClientSession, WSMsgType, web
from aiohttp._websocket.writer import WebSocketWriter

SIZES = [0, 1, 125, 126, 127, 200, 1000, 4095, 4096, 5000, 65535, 65536, 100_000, 300_000]
FLOOD = 3000
WROTE = {"data_frames": 0, "control_frames": 0, "messages": 0, "payload_bytes": 0}
write = WebSocketWriter._write_websocket_frame


def count(writer, message, opcode, rsv):
    write(writer, message, opcode, rsv)
    is_control = opcode >= 8
    WROTE["control_frames" if is_control else "data_frames"] += 1
    WROTE["messages"] += not is_control
    WROTE["payload_bytes"] += len(message)


WebSocketWriter._write_websocket_frame = count


async def handle(request):
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.data == "flood":
            for number in range(FLOOD):
                await socket.send_bytes(b"x" * (number % 700))
        elif message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


async def serve(tls):
    app = web.Application()
    app.router.add_get("/play/{room}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    print("listening", runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


async def echo(socket, size):
    await socket.send_str("x" * size)
    assert len((await socket.receive()).data) == size
    await socket.send_bytes(b"\x81" * size)
    assert len((await socket.receive()).data) == size


async def talk(port, mode, tls):
    scheme, host = ("wss", "localhost") if tls else ("ws", "127.0.0.1")
    compress = 15 if mode == "compressed" else 0
    async with ClientSession() as session:
        url = f"{scheme}://{host}:{port}/play/12345"
        async with session.ws_connect(url, ssl=tls or True, compress=compress, max_msg_size=0) as socket:
            for size in SIZES:
                await echo(socket, size)
            if mode == "late":
                print("talking", flush=True)
                await asyncio.to_thread(sys.stdin.readline)
                for size in SIZES:
                    await echo(socket, size)
            if mode == "flood":
                await socket.send_str("flood")
                for _ in range(FLOOD):
                    await socket.receive()
            await socket.ping(b"still there?")
            await echo(socket, 7)
            await socket.close(message=b"bye")


def context(files):
    if not files:
        return None
    if len(files) == 2:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*files)
        return tls
    return ssl.create_default_context(cafile=files[0])


what, *files = sys.argv[1:]
if what == "serve":
    asyncio.run(serve(context(files)))
else:
    port, mode = what.split(":")
    asyncio.run(talk(port, mode, context(files)))
print("wrote", json.dumps(WROTE), flush=True)
