"""Three game servers, each with a habit of its own when it calls the platform's API.

Given: --game=NAME, the ports of the API and its certificate. Gives: a line "ready" when its first call is answered, then,
from the line "go" on its standard input to the line "stop", calls; then a line "made CALLS ERRORS", and its connection
stays until it is ended. Refuses to know: that it is watched.
"""

import argparse
import http.client
import json
import queue
import ssl
import sys
import threading
import time
import uuid

HOST = "api.platform.example"


class Platform:
    """Calls on one connection at a time, counted."""

    def __init__(self, connect):
        self.connect = connect
        self.connection = connect()
        self.calls = 0
        self.errors = 0
        self.status = None

    def call(self, method, path, body=None, chunked=False):
        headers = {"Host": HOST, "User-Agent": "game-server", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.connection.request(method, path, body=body, headers=headers, encode_chunked=chunked)
        response = self.connection.getresponse()
        content = json.loads(response.read())
        self.calls += 1
        self.errors += response.status >= 400
        self.status = response.status
        return content

    def reconnect(self):
        self.connection.close()
        self.connection = self.connect()


def obby_rush(platform):
    """For each match, asks for its players one by one: one call would do."""
    for player in platform.call("GET", "/v1/matches?state=open")["players"]:
        platform.call("GET", f"/v1/users/{player}")
    time.sleep(0.1)


def tower_siege(platform, match=uuid.uuid4(), events=[]):
    """Asks at an even pace whether anything has changed, which it never has; sends events in batches, with a body of unknown
    length, and tries again at once when that fails."""
    platform.call("GET", f"/v1/matches/{match}")
    events.append({"kind": "shot", "at": time.time()})
    if len(events) == 2:
        batch = [json.dumps(events).encode()]
        for _ in range(8):
            platform.call("POST", "/v1/events", body=iter(batch), chunked=True)
            if platform.status < 500:
                break
        events.clear()
    time.sleep(0.3)


def pet_market(platform):
    """Over TLS: looks into inventories, some of them of nobody; buys; connects anew now and then."""
    for owner in range(platform.calls + 1, platform.calls + 40):
        platform.call("GET", f"/v1/inventory/{owner}/items")
        time.sleep(0.004)
    platform.call("POST", "/v1/purchases", body=json.dumps({"item": 7, "price": 100}))
    platform.reconnect()


GAMES = {"obby-rush": obby_rush, "tower-siege": tower_siege, "pet-market": pet_market}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--game", choices=GAMES, required=True)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--certificate")
    arguments = arguments.parse_args()

    def connect():
        if arguments.certificate is None:
            return http.client.HTTPConnection("127.0.0.1", arguments.port)
        context = ssl.create_default_context(cafile=arguments.certificate)
        return http.client.HTTPSConnection("127.0.0.1", arguments.port, context=context)

    platform = Platform(connect)
    # The connection is there before anybody watches.
    platform.call("GET", "/v1/matches")
    platform.calls = platform.errors = 0
    orders = queue.Queue()
    threading.Thread(target=lambda: [orders.put(line.strip()) for line in sys.stdin], daemon=True).start()
    print("ready", flush=True)
    orders.get()
    while orders.empty():
        GAMES[arguments.game](platform)
    print("made", platform.calls, platform.errors, flush=True)
    threading.Event().wait()


main()
