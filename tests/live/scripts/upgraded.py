"""Given: nothing. Gives: a server of HTTP/1.1 that upgrades to HTTP/2 and speaks it by prior knowledge (hypercorn), with a
line of JSON for each call that it served. Refuses to know: who talks to it. `/stream/N` answers N events, and waits for a
line of its input before the last.
"""

import asyncio
import json
import socket
import sys
import time

from hypercorn.asyncio import serve
from hypercorn.config import Config

CONNECTIONS = {}
ORDINALS = {}
GATE = asyncio.Event()


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    started = time.time()
    request_bytes, more = 0, True
    while more:
        message = await receive()
        request_bytes += len(message.get("body", b""))
        more = message.get("more_body", False)
    path = scope["path"]
    parts = [b'{"ok":true}\n']
    if path.startswith("/stream/"):
        parts = [b"data: %d\n\n" % number for number in range(int(path.rsplit("/", 1)[-1]))]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for at, part in enumerate(parts):
        if path.startswith("/stream/") and at == len(parts) - 1:
            print("streaming", flush=True)
            await GATE.wait()
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    client = tuple(scope["client"])
    connection = CONNECTIONS.setdefault(client, len(CONNECTIONS))
    ORDINALS[connection] = ORDINALS.get(connection, 0) + 1
    line = {
        "connection": connection,
        "ordinal": ORDINALS[connection],
        "started": started,
        "ended": time.time(),
        "method": scope["method"],
        "target": path,
        "protocol": "HTTP/2" if scope["http_version"] == "2" else "HTTP/" + scope["http_version"],
        "status": 200,
        "request_body_bytes": request_bytes,
        "response_body_bytes": sum(map(len, parts)),
    }
    print(json.dumps(line), flush=True)


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def line():
        if sys.stdin.readline():
            GATE.set()
        else:
            loop.remove_reader(sys.stdin)
            ended.set()

    loop.add_reader(sys.stdin, line)
    print(f"listening {port}", flush=True)
    await serve(app, config, shutdown_trigger=ended.wait)


asyncio.run(main())
