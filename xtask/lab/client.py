"""A game server that makes the calls of a plan, through requests or httpx.

Given: --game=NAME, the library, a file with a call in each line, the port of the platform and, for TLS, its certificate. Gives:
a line "ready"; from the line "go" on its standard input, each call when it is due; then a line "made CALLS FAILED", and its
connections stay until it is ended. Refuses to know: why it makes them, and that it is watched.
"""

import argparse
import concurrent.futures
import json
import socket
import sys
import time

# Calls that can be under way at one time.
THREADS = 96

# No answer takes so long.
PATIENCE_S = 30


class Requests:
    def __init__(self, certificate):
        import requests

        self.session = requests.Session()
        self.session.trust_env = False
        adapter = requests.adapters.HTTPAdapter(pool_connections=THREADS, pool_maxsize=THREADS)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, adapter)
        self.session.verify = certificate or False

    def call(self, method, url, headers, body, timeout_s):
        made = self.session.request(
            method, url, headers=headers, data=body, timeout=(PATIENCE_S, timeout_s), allow_redirects=False, stream=True
        )
        # Without decoding: what a coding says of the body is not true.
        while made.raw.read(1 << 16, decode_content=False):
            pass
        made.raw.release_conn()


class Httpx:
    def __init__(self, certificate):
        import httpx
        import ssl

        context = ssl.create_default_context(cafile=certificate) if certificate else True
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=THREADS, keepalive_expiry=90)
        self.client = httpx.Client(verify=context, limits=limits, trust_env=False)
        self.timeout = httpx.Timeout

    def call(self, method, url, headers, body, timeout_s):
        timeout = self.timeout(PATIENCE_S, read=timeout_s)
        with self.client.stream(method, url, headers=headers, content=body, timeout=timeout) as made:
            for _ in made.iter_raw():
                pass


LIBRARIES = {"requests": Requests, "httpx": Httpx}


class Game:
    def __init__(self, library, scheme, path):
        self.library = library
        self.scheme = scheme
        with open(path) as lines:
            calls = [json.loads(line) for line in lines]
        self.first = [call for call in calls if call["after"] is None]
        self.followers = {call["after"]: call for call in calls if call["after"] is not None}
        self.made = self.failed = 0

    def play(self):
        started = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
            for call in self.first:
                time.sleep(max(0.0, started + call["at_ns"] / 1e9 - time.monotonic()))
                threads.submit(self.chain, call)

    def chain(self, call):
        """A call, and those of the same task that wait for it."""
        while call is not None:
            self.call(call)
            call = self.followers.get(call["n"])
            if call is not None:
                time.sleep(call["pause_ns"] / 1e9)

    def call(self, call):
        url = f"{self.scheme}://{call['authority']}{call['target']}"
        body = (f"{int(call['body']):016x}" * (call["body_bytes"] // 16 + 1))[: call["body_bytes"]].encode() or None
        gives_up_ns = call["gives_up_ns"]
        timeout_s = PATIENCE_S if gives_up_ns is None else gives_up_ns / 1e9
        self.made += 1
        try:
            self.library.call(call["method"], url, call["headers"], body, timeout_s)
        except Exception as error:
            if not call["may_fail"]:
                self.failed += 1
                print(f"{call['method']} {url}: {error!r}", file=sys.stderr)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--game", required=True)
    arguments.add_argument("--library", choices=LIBRARIES, required=True)
    arguments.add_argument("--calls", required=True)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--certificate")
    arguments = arguments.parse_args()
    # Every name is that of the platform, whatever port it has.
    there = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", arguments.port))]
    socket.getaddrinfo = lambda *_, **__: there
    library = LIBRARIES[arguments.library](arguments.certificate)
    game = Game(library, "https" if arguments.certificate else "http", arguments.calls)
    print("ready", flush=True)
    sys.stdin.readline()
    game.play()
    print("made", game.made, game.failed, flush=True)
    sys.stdin.read()


main()
