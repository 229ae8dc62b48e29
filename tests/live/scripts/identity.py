"""Given: what happens to a socket, host and port. Gives: requests on that socket, numbered in their paths. Refuses to
know: whether it is traced. Where a step must wait for the tracer, it prints a line and reads one.
"""

import array
import os
import socket
import sys

CASE, HOST, PORT = sys.argv[1:4]
MORE = sys.argv[4:]


def connect():
    return socket.create_connection((HOST, int(PORT)))


def send(connection, path, body=b""):
    connection.sendall(head(path, body) + body)


def head(path, body=b""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    method = "POST" if body else "GET"
    return f"{method} {path} HTTP/1.1\r\nHost: test\r\n{length}\r\n".encode()


def receive(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    top, _, body = data.partition(b"\r\n\r\n")
    length = int(top.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)


def call(connection, path):
    send(connection, path)
    receive(connection)


def step(line):
    print(line, flush=True)
    sys.stdin.readline()


def reused():
    numbers = set()
    for number in range(20):
        connection = connect()
        numbers.add(connection.fileno())
        for turn in range(number % 3 + 1):
            call(connection, f"/v1/reused/{number}/{turn}")
        connection.close()
    assert len(numbers) == 1, numbers


def duplicated():
    """A request in two halves through two descriptors, the response through a third; then the first is closed."""
    first = connect()
    second, third = first.dup(), socket.socket(fileno=os.dup2(first.fileno(), 77))
    for number in range(5):
        data = head(f"/v1/duplicated/{number}")
        (first if number < 3 else second).sendall(data[:20])
        second.sendall(data[20:])
        receive(third)
        if number == 2:
            first.close()
    second.close()
    third.close()


def forked():
    """Parent and child take turns on one connection."""
    connection = connect()
    call(connection, f"/v1/forked/parent/{os.getpid()}")
    child = os.fork()
    if child == 0:
        call(connection, f"/v1/forked/child/{os.getpid()}")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    call(connection, f"/v1/forked/again/{os.getpid()}")
    connection.close()


def passing():
    """Makes a call and hands the socket to another process through a Unix socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(MORE[0])
    listener.listen()
    print("ready", flush=True)
    other, _ = listener.accept()
    connection = connect()
    call(connection, f"/v1/passed/first/{os.getpid()}")
    other.sendmsg([b"s"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])
    connection.close()
    other.recv(1)


def passed():
    other = socket.socket(socket.AF_UNIX)
    other.connect(MORE[0])
    _, control, _, _ = other.recvmsg(1, socket.CMSG_SPACE(4))
    connection = socket.socket(fileno=array.array("i", control[0][2])[0])
    for number in range(3):
        call(connection, f"/v1/passed/then/{number}/{os.getpid()}")
    connection.close()
    other.send(b"e")


def opened_before():
    """One connection that has carried calls, one that has carried none, both older than the tracer."""
    used, fresh = connect(), connect()
    call(used, "/v1/before/used")
    step("ready")
    for number in range(3):
        call(used, f"/v1/after/used/{number}")
        call(fresh, f"/v1/after/fresh/{number}")
    used.close()
    fresh.close()


def blocked():
    """The tracer comes while the response is being waited for; the next call is the first it can see."""
    connection = connect()
    send(connection, "/hold/1")
    print("ready", flush=True)
    receive(connection)
    call(connection, "/plain/100")
    connection.close()


def looping():
    """Calls on three connections until the input ends; pages are numbered for ever."""
    os.set_blocking(0, False)
    connections = [connect() for _ in range(3)]
    number = 0
    print("ready", flush=True)
    while sys.stdin.buffer.raw.read(1) != b"":
        connection = connections[number % 3]
        if number % 5 == 0:
            body = b"b" * 900
            send(connection, f"/echo/looping/{number}", body)
            receive(connection)
        else:
            call(connection, f"/v1/looping/{number}")
        number += 1
    for connection in connections:
        connection.close()


def counted():
    """Three hundred calls under a name, on one connection."""
    connection = connect()
    for number in range(300):
        call(connection, f"/v1/{MORE[0]}/{number}")
    connection.close()


globals()[CASE]()
