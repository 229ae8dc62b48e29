"""Given: a TLS API, host, port, certificate, and paths. Gives: one connection a path, whose response is read until the
connection ends. Refuses to know: whether it is traced.

`socket` has OpenSSL read the socket; `memory` is asyncio, which hands it the bytes.
"""

import asyncio
import http.client
import ssl
import sys

API, HOST, PORT, CERTIFICATE, *PATHS = sys.argv[1:]
context = ssl.create_default_context(cafile=CERTIFICATE)


def through_socket(path):
    connection = http.client.HTTPSConnection(HOST, int(PORT), context=context)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


async def through_memory(path):
    reader, writer = await asyncio.open_connection(HOST, int(PORT), ssl=context)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data.partition(b"\r\n\r\n")[2]


for path in PATHS:
    body = through_socket(path) if API == "socket" else asyncio.run(through_memory(path))
    assert len(body) == int(path.rsplit("/", 1)[1]), len(body)
