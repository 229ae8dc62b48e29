"""A platform that answers each call as a plan says: status, fields, sizes, and how long it takes.

Given: a directory with cert.pem, key.pem and answers.ndjson, in which each line is the answer of a call. Gives: a line
"ready PORT TLS_PORT"; then answers, until the line "stop" on its standard input; then a line "served OTHERS
NUMBER...": how many requests came that were not planned or came twice, and the numbers of planned calls that did not come. Refuses to know: who calls.
"""

import http.server
import json
import socket
import socketserver
import ssl
import sys
import threading
import time


class Answers:
    """Each once."""

    def __init__(self, path):
        with open(path) as lines:
            self.left = {answer["n"]: answer for answer in map(json.loads, lines)}
        self.lock = threading.Lock()
        self.others = 0

    def take(self, number):
        with self.lock:
            answer = self.left.pop(number, None)
            self.others += answer is None
        return answer


def body_of(answer):
    """What names the body, again and again, each time an id; before them the one that the caller goes on with."""
    own = f"{int(answer['body']):016x},"
    text = f"{answer['brings']}," if answer["brings"] else ""
    text += own * (answer["body_bytes"] // len(own) + 1)
    return text[: answer["body_bytes"]].encode()


class Platform(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer go out in one write.
    wbufsize = -1
    disable_nagle_algorithm = True
    answers = None

    def answer(self):
        came = time.monotonic()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.answers.take(int(self.headers.get("X-Lab-Call", -1)))
        if answer is None:
            return self.send_error(404)
        time.sleep(max(0.0, came + answer["first_byte_ns"] / 1e9 - time.monotonic()))
        if answer["status"] == 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = body_of(answer)
        self.send_response(answer["status"])
        for name, value in answer["headers"].items():
            self.send_header(name, value)
        if answer["status"] != 304:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = answer

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        # A caller that goes away is no news.
        pass


def main():
    directory = sys.argv[1]
    Platform.answers = Answers(f"{directory}/answers.ndjson")
    plain = Server(("127.0.0.1", 0), Platform)
    tls = Server(("127.0.0.1", 0), Platform)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")
    # The handshake is made in the thread of the connection, so that nobody holds up the next caller.
    tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
    for server in (plain, tls):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", plain.server_port, tls.server_port, flush=True)
    sys.stdin.readline()
    print("served", Platform.answers.others, *sorted(Platform.answers.left), flush=True)
    sys.stdin.read()


main()
