"""Given: a shape of traffic, host and port. Gives: that traffic, written to sockets by hand. Refuses to know: whether it
is traced.

`bytes`: requests written one byte at a time. `empty_lines`: an empty line before each request, also the first. `pipeline`: 64 requests in one write. `many`: 200 connections at once, five
requests on each.
"""

import selectors
import socket
import sys

SHAPE, HOST, PORT = sys.argv[1:4]


def connect():
    connection = socket.create_connection((HOST, int(PORT)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request(method, path, body=b""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: test\r\n{length}\r\n".encode() + body


class Responses:
    """Counts the responses of nginx in what was received; each has a Content-Length."""

    def __init__(self):
        self.data = b""
        self.count = 0

    def feed(self, data):
        if not data:
            raise SystemExit("the server closed the connection")
        self.data += data
        while True:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(rest) < length:
                return
            self.data = rest[length:]
            self.count += 1


def single_bytes():
    connection = connect()
    responses = Responses()
    for number in range(3):
        for data in (request("GET", f"/v1/bytes/{number}"), request("POST", f"/echo/bytes/{number}", b"b" * 400)):
            for byte in data:
                connection.sendall(bytes([byte]))
            before = responses.count
            while responses.count == before:
                responses.feed(connection.recv(1))
    connection.close()


def empty_lines():
    for parts in ([b"\r\n", b""], [b"\r\n\r\n"], [b"\r", b"\n", b""]):
        connection = connect()
        responses = Responses()
        for number in range(3):
            *before, last = parts
            for data in [*before, last + request("POST", f"/echo/empty/{number}", b"b" * 40)]:
                connection.sendall(data)
            while responses.count <= number:
                responses.feed(connection.recv(65536))
        connection.close()


def pipeline():
    connection = connect()
    responses = Responses()
    connection.sendall(b"".join(request("GET", f"/v1/pipeline/{number}") for number in range(64)))
    while responses.count < 64:
        responses.feed(connection.recv(700))
    connection.sendall(request("GET", "/v1/pipeline/behind"))
    while responses.count < 65:
        responses.feed(connection.recv(65536))
    connection.close()


def many():
    selector = selectors.DefaultSelector()
    for number in range(200):
        connection = connect()
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, (number, Responses()))
    for key in list(selector.get_map().values()):
        key.fileobj.send(request("GET", f"/v1/many/{key.data[0]}/0"))
    while selector.get_map():
        for key, _ in selector.select():
            number, responses = key.data
            responses.feed(key.fileobj.recv(65536))
            if responses.count == 5:
                selector.unregister(key.fileobj)
                key.fileobj.close()
            else:
                key.fileobj.send(request("GET", f"/v1/many/{number}/{responses.count}"))


{"bytes": single_bytes, "empty_lines": empty_lines, "pipeline": pipeline, "many": many}[SHAPE]()
