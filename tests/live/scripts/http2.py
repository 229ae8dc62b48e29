"""Given: a case, host, port and a certificate. Gives: calls of HTTP/2, through httpx or straight through its framing
library. Refuses to know: whether they are traced. Where a step must wait for the tracer, it prints a line and reads one.
"""

import asyncio
import socket
import ssl
import sys

CASE, HOST, PORT = sys.argv[1:4]
CERTIFICATE = sys.argv[4] if len(sys.argv) > 4 else None


class Plain:
    """A connection by prior knowledge, one call after the other or many at one time."""

    def __init__(self):
        import h2.config
        import h2.connection

        self.socket = socket.create_connection((HOST, int(PORT)))
        config = h2.config.H2Configuration(header_encoding=None)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.flush()

    def flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def ask(self, path, method=b"GET", body=b""):
        stream = self.connection.get_next_available_stream_id()
        fields = [(b":method", method), (b":scheme", b"http"), (b":authority", b"late.test"), (b":path", path)]
        self.connection.send_headers(stream, fields, end_stream=not body)
        if body:
            self.connection.send_data(stream, body, end_stream=True)
        self.flush()
        return stream

    def wait(self, streams):
        import h2.events

        streams = set(streams)
        while streams:
            data = self.socket.recv(65536)
            assert data, "the server ended the connection"
            for event in self.connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    streams.discard(event.stream_id)
            self.flush()

    def call(self, path):
        self.wait([self.ask(path)])


def late():
    """The same path before and behind the step, then paths that are new."""
    connection = Plain()
    for number in range(3):
        connection.call(b"/v1/before")
    print("joined", flush=True)
    sys.stdin.readline()
    for number in range(4):
        connection.call(b"/v1/before")
        connection.call(b"/v1/behind/%d" % number)


def many():
    """A hundred at one time, of which the server answers in its own order."""
    connection = Plain()
    connection.wait([connection.ask(b"/v1/many/%03d" % number) for number in range(100)])
    connection.wait([connection.ask(b"/echo/body/%03d" % n, b"POST", b"x" * n * 100) for n in range(1, 20)])


def same():
    """The same call again and again."""
    connection = Plain()
    for _ in range(30):
        connection.call(b"/same")


def given_up():
    """A download that its client ends in the middle, by a reset."""
    import h2.events

    connection = Plain()
    stream = connection.ask(b"/page")
    # The first bytes may be the server's SETTINGS alone.
    while not any(
        isinstance(event, h2.events.DataReceived)
        for event in connection.connection.receive_data(connection.socket.recv(65536))
    ):
        connection.flush()
    connection.connection.reset_stream(stream, 8)
    connection.flush()
    connection.call(b"/v1/behind")


def httpx():
    import httpx as library

    async def calls():
        context = ssl.create_default_context(cafile=CERTIFICATE)
        async with library.AsyncClient(http2=True, verify=context) as client:
            base = f"https://{HOST}:{PORT}"
            await client.get(f"{base}/v1/first")
            answers = await asyncio.gather(*[client.get(f"{base}/v1/at-once/{n}") for n in range(60)])
            answers.append(await client.post(f"{base}/echo/post", content=b"y" * 30000))
            answers.append(await client.get(f"{base}/page"))
            assert all(answer.http_version == "HTTP/2" for answer in answers)

    asyncio.run(calls())


globals()[CASE]()
