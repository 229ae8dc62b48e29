"""Given: `serve`, or a port; then a certificate, and for the server its key, or nothing for no TLS. Gives: a server that echoes
on WebSockets, or a client that talks to one (both aiohttp), and at the end how many frames it wrote itself, as JSON. Refuses
to know: whether it is traced.

The client then has a mode: `talk` sends messages of all sizes and waits for each echo; `compressed` the same, compressed;
`late` waits for a line of its input before the last ones; `flood` asks for thousands of messages at once, `burst` for more of
few bytes, and `download` for large ones; `greeted` makes a call first, and upgrades its connection, on which the server speaks first.
"""

import asyncio
import json
import ssl
import sys

from aiohttp import ClientSession, WSMsgType, web
from aiohttp._websocket.writer import WebSocketWriter

SIZES = [0, 1, 125, 126, 127, 200, 1000, 4095, 4096, 5000, 65535, 65536, 100_000, 300_000]
# Messages that are sent at once: how many, and of how many bytes they are.
FLOODS = {
    "flood": [number % 700 for number in range(3000)],
    "burst": [number % 20 for number in range(30_000)],
    "download": [1 << 20] * 256,
}
GREETED = "777"
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
    if request.match_info["room"] == GREETED:
        for size in FLOODS["flood"]:
            await socket.send_bytes(b"x" * size)
    async for message in socket:
        if message.data in FLOODS:
            for size in FLOODS[message.data]:
                await socket.send_bytes(b"x" * size)
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
        if mode == "greeted":
            url = f"{scheme}://{host}:{port}/play/{GREETED}"
            async with session.get(url, ssl=tls or True) as response:
                await response.read()
        async with session.ws_connect(url, ssl=tls or True, compress=compress, max_msg_size=0) as socket:
            if mode == "greeted":
                for _ in FLOODS["flood"]:
                    await socket.receive()
            for size in SIZES:
                await echo(socket, size)
            if mode == "late":
                print("talking", flush=True)
                await asyncio.to_thread(sys.stdin.readline)
                for size in SIZES:
                    await echo(socket, size)
            if mode in FLOODS:
                await socket.send_str(mode)
                for _ in FLOODS[mode]:
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
