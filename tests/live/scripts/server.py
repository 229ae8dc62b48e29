"""Given: a certificate and a key for TLS, or nothing for plain HTTP. Gives: an HTTP/1.1 server on a free port of
127.0.0.1 with framings that are allowed but rare, and one JSON object a line for each request it served. Refuses to
know: whether it is traced. It ends when its input ends.

The first part of the path says how a response is framed, the second how many bytes of payload it has:
/plain/N by Content-Length; /drip/N in chunks of one byte, each written alone; /uneven/N in chunks of growing size with
extensions and trailers; /close/N until the connection closes;
/torn/N the same, with TLS not closed before; /early/N behind a 103; /crumbs/N with the head written byte
by byte; /none/204 and /none/304 without a body; /hold/N as /plain/N, once /release/N has been asked for.
"""

import asyncio
import itertools
import json
import socket
import ssl
import sys
import time

connections = itertools.count(1)
released = asyncio.Event()


async def read_request(reader):
    first = await reader.readexactly(1)
    started = time.time()
    head = first + await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, protocol = lines[0].split(" ")
    fields = {}
    for line in lines[1:]:
        if line:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
    return started, method, target, protocol, fields


async def read_body(reader, fields):
    if fields.get("transfer-encoding", "").lower() != "chunked":
        length = int(fields.get("content-length", "0"))
        await reader.readexactly(length)
        return length
    total = 0
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        total += size
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return total
        await reader.readexactly(size + 2)


async def put(writer, data):
    writer.write(data)
    await writer.drain()


async def respond(writer, method, target):
    """Gives status, payload bytes, and whether the connection stays."""
    _, shape, argument = target.split("?")[0].split("/")[:3]
    count = int(argument)
    body = b"x" * count if method != "HEAD" else b""
    if shape == "hold":
        await released.wait()
    if shape == "release":
        released.set()
    if shape == "none":
        length = b"Content-Length: 10\r\n" if count == 304 else b""
        await put(writer, b"HTTP/1.1 %d Nothing\r\n%s\r\n" % (count, length))
        return count, 0, True
    if shape in ("close", "torn"):
        await put(writer, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        await put(writer, body)
        if shape == "torn":
            # The socket below, so that the peer sees its end and no close_notify.
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        return 200, len(body), False
    if shape == "early":
        await put(writer, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    if shape in ("plain", "early", "crumbs", "hold", "release"):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % count
        if shape == "crumbs":
            for byte in head:
                await put(writer, bytes([byte]))
            await put(writer, body)
        else:
            await put(writer, head + body)
        return 200, len(body), True
    await put(writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Checksum\r\n\r\n")
    if method == "HEAD":
        return 200, 0, True
    if shape == "drip":
        for index in range(count):
            await put(writer, b"1\r\n%s\r\n" % body[index : index + 1])
        await put(writer, b"0\r\n\r\n")
    else:
        left, size = count, 1
        while left:
            part = min(size, left)
            await put(writer, b"%06X;part=%d\r\n" % (part, size) + body[:part] + b"\r\n")
            left -= part
            size = size * 3 + 1
        await put(writer, b"0;last\r\nChecksum: 1\r\nX-Left: 0\r\n\r\n")
    return 200, count, True


async def serve(reader, writer):
    connection = next(connections)
    stays = True
    try:
        for ordinal in itertools.count(1):
            started, method, target, protocol, fields = await read_request(reader)
            received = await read_body(reader, fields)
            status, sent, stays = await respond(writer, method, target)
            line = {
                "connection": connection,
                "ordinal": ordinal,
                "started": started,
                "ended": time.time(),
                "method": method,
                "target": target,
                "protocol": protocol,
                "status": status,
                "request_body_bytes": received,
                "response_body_bytes": sent,
            }
            print(json.dumps(line), flush=True)
            if not stays:
                break
    except asyncio.IncompleteReadError:
        pass
    writer.close()
    try:
        await writer.wait_closed()
    except (ConnectionError, ssl.SSLError):
        pass


async def main(certificate):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, limit=1 << 20, backlog=1024)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main(sys.argv[1:]))
