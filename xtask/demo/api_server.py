"""The platform's API: HTTP/1.1 on one port, the same over TLS on another.

Given: a directory with cert.pem and key.pem. Gives: a line "ready PORT TLS_PORT", then answers until its standard input
ends. Refuses to know: who calls.
"""

import http.server
import itertools
import json
import random
import re
import socketserver
import ssl
import sys
import threading
import time

ROUTES = [
    ("GET", re.compile(r"/v1/users/\d+"), "user"),
    ("GET", re.compile(r"/v1/inventory/\d+/items"), "items"),
    ("GET", re.compile(r"/v1/matches"), "matches"),
    ("GET", re.compile(r"/v1/matches/[0-9a-f-]{36}"), "match"),
    ("POST", re.compile(r"/v1/events"), "events"),
    ("POST", re.compile(r"/v1/purchases"), "purchase"),
]

# The store behind the API is away for so many of so many batches of events, one after the other.
EVENTS_PER_FAILURE = 16
FAILURES = 5

# Batches of events that one caller may send in a minute; nobody is turned away here.
EVENTS_PER_MINUTE = 1000


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer go out in one write.
    wbufsize = -1
    disable_nagle_algorithm = True
    batches = itertools.count(1)

    def do_GET(self):
        self.answer("GET", b"")

    def do_POST(self):
        self.answer("POST", self.body())

    def answer(self, method, body):
        path = self.path.partition("?")[0]
        for known, pattern, name in ROUTES:
            if method == known and pattern.fullmatch(path):
                status, content = getattr(self, name)(path, body)
                break
        else:
            name, status, content = None, 404, {"error": "no such thing"}
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if name == "events":
            self.send_header("X-RateLimit-Limit", str(EVENTS_PER_MINUTE))
            self.send_header("X-RateLimit-Remaining", str(EVENTS_PER_MINUTE // 4))
        self.end_headers()
        self.wfile.write(text)

    def user(self, path, _body):
        time.sleep(random.uniform(0.0005, 0.002))
        return 200, {"id": int(path.rsplit("/", 1)[1]), "name": "player", "friends": list(range(20))}

    def items(self, path, _body):
        time.sleep(random.uniform(0.001, 0.004))
        owner = int(path.split("/")[3])
        if owner % 10 == 0:
            return 404, {"error": "no such user"}
        return 200, {"items": [{"id": owner * 100 + n, "kind": "hat"} for n in range(30)]}

    def matches(self, _path, _body):
        return 200, {"players": random.sample(range(1, 100_000), 25)}

    def match(self, _path, _body):
        return 200, {"state": "waiting"}

    def events(self, _path, body):
        time.sleep(random.uniform(0.005, 0.02))
        if next(self.batches) % EVENTS_PER_FAILURE < FAILURES:
            return 503, {"error": "try again"}
        return 202, {"taken": len(json.loads(body))}

    def purchase(self, _path, _body):
        time.sleep(random.uniform(0.01, 0.03))
        return 201, {"state": "paid"}

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        # A caller that goes away is no news.
        pass


def main():
    directory = sys.argv[1]
    plain = Server(("127.0.0.1", 0), Api)
    tls = Server(("127.0.0.1", 0), Api)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")
    # The handshake is made in the thread of the connection, so that nobody holds up the next caller.
    tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
    for server in (plain, tls):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", plain.server_port, tls.server_port, flush=True)
    sys.stdin.read()


main()
