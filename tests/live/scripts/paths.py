"""Given: a case. Gives: HTTP/1.1 between this process and a child that serves, over connections of the case's kind, and what the
child saw: a line `exchange` as the mover writes it, and a line `connection` with its number and the addresses of client and server.
Refuses to know: whether it is traced.

It runs in a network namespace of its own, which it may set up as it likes. Where it says `ready` it waits for a line.
"""

import ctypes
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys

CASE, *REST = sys.argv[1:]
CLIENT = "CLIENT"
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
MPTCP = 262
# include/uapi/linux/tcp.h, include/uapi/linux/mptcp.h
TCP_FASTOPEN_CONNECT = 30
TCPI_OPT_SYN_DATA = 32
TCP_ZEROCOPY_RECEIVE = 35
SOL_MPTCP, MPTCP_INFO, MPTCP_INFO_FLAG_FALLBACK = 284, 1, 1


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # SIOCSIFFLAGS with IFF_UP.
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))


def system(name, value):
    with open("/proc/sys/net/" + name, "w") as file:
        file.write(str(value))


def ready():
    print("ready", flush=True)
    sys.stdin.readline()


def address(of):
    host, port = of[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def request(path, size, more=""):
    return f"POST {path} HTTP/1.1\r\nHost: paths\r\nContent-Length: {size}\r\n{more}\r\n".encode() + b"b" * size


class Reader:
    """Messages with a Content-Length, or until the end."""

    def __init__(self, connection):
        self.connection = connection
        self.data = b""

    def more(self):
        # It waits here, and not in a call that a tracer which comes later may not see the end of.
        select.select([self.connection], [], [])
        part = self.connection.recv(65536)
        self.data += part
        return bool(part)

    def message(self):
        """First line, bytes of the head, bytes of the body; nothing at the end."""
        while b"\r\n\r\n" not in self.data.lstrip():
            if not self.more():
                assert not self.data, "the end of a connection within a head"
                return None
        self.data = self.data.lstrip()
        head, _, _ = self.data.partition(b"\r\n\r\n")
        fields = head.decode().lower().split("\r\n")
        lengths = [int(field.split(":")[1]) for field in fields if field.startswith("content-length:")]
        size = len(head) + 4
        while not lengths or len(self.data) < size + lengths[0]:
            if not self.more():
                assert not lengths, "the end of a connection within a body"
                lengths = [len(self.data) - size]
        self.data = self.data[size + lengths[0] :]
        return head.decode().split("\r\n")[0], size, lengths[0]


def send_file(connection, body):
    with os.fdopen(os.memfd_create("body"), "r+b") as file:
        file.write(body)
        file.flush()
        sent = 0
        while sent < len(body):
            sent += os.sendfile(connection.fileno(), file.fileno(), sent, len(body) - sent)


def send_pages(connection, body):
    """By a pipe, whose pages belong to nobody else: only such can be mapped by who receives them."""
    reader, writer = os.pipe()
    while body:
        held = os.write(writer, body[: 8 * PAGE])
        body = body[held:]
        while held:
            held -= os.splice(reader, connection.fileno(), held)
    os.close(reader)
    os.close(writer)


def serve(listener, connections, check):
    """Answers with as many bytes as the last part of the path says, and closes behind an answer of unknown length."""
    lines = []
    for number in range(connections):
        connection, peer = listener.accept()
        lines.append(f"connection\t{number}\t{address(peer)}\t{address(connection.getsockname())}")
        reader = Reader(connection)
        while found := reader.message():
            first, *received = found
            check(number, connection)
            method, path, _ = first.split(" ")
            body = b"a" * int(path.rsplit("/", 1)[1])
            is_last = "/until-close/" in path
            length = "Connection: close" if is_last else f"Content-Length: {len(body)}"
            head = f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode()
            if "/file/" in path:
                connection.sendall(head)
                send_file(connection, body)
            elif "/pages/" in path:
                connection.sendall(head)
                send_pages(connection, body)
            elif "/urgent/" in path:
                connection.sendall(head)
                urgent(connection, b"!")
                connection.sendall(body)
            else:
                connection.sendall(head + body)
            sizes = [*received, len(head), len(body)]
            fields = ["exchange", number, CLIENT, os.getpid(), method, path, 200, *sizes]
            if not path.startswith("/before/"):
                lines.append("\t".join(map(str, fields)))
            if is_last:
                break
        connection.close()
    return lines


class Server:
    pids = []

    def __init__(self, listener, connections, check=lambda number, connection: None):
        self.address = listener.getsockname()
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            lines = serve(listener, connections, check)
            os.write(writer, "\n".join(lines).encode())
            os._exit(0)
        Server.pids.append(self.pid)
        listener.close()
        os.close(writer)
        self.told = os.fdopen(reader)

    def log(self, client=lambda number: os.getpid()):
        for line in self.told.read().split("\n"):
            number = int(line.split("\t")[1])
            print(line.replace(CLIENT, str(client(number))))
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, "the server failed"


def listen(host, protocol=0):
    loopback_up()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, protocol)
    listener.bind((host, 0))
    listener.listen()
    return listener


def exchange(connection, path, size=0):
    connection.sendall(request(path, size))
    return answer(connection)


def answer(connection):
    found = Reader(connection).message()
    assert found and found[0].endswith(" 200 OK"), found
    return found


def exchange_of_pages(connection, path, size):
    """The bodies go through pipes on both ways, and the answer comes from a file: no buffer of a process has them."""
    message = request(path, size)
    connection.sendall(message[:-size])
    reader, writer = os.pipe()
    os.write(writer, message[-size:])
    left = size
    while left:
        left -= os.splice(reader, connection.fileno(), left)
    head = b""
    while b"\r\n\r\n" not in head:
        head = connection.recv(1000, socket.MSG_PEEK)
    head = connection.recv(head.index(b"\r\n\r\n") + 4)
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while left:
        moved = os.splice(connection.fileno(), writer, left)
        assert moved and os.read(reader, moved) == b"a" * moved
        left -= moved
    os.close(reader)
    os.close(writer)


def rest(connection, name, is_last=False):
    """More exchanges on a connection, the last of which ends it when that is wanted."""
    exchange(connection, f"/{name}/large/70000", 30000)
    exchange(connection, f"/{name}/small/5")
    if is_last:
        exchange(connection, f"/{name}/until-close/50000")
    connection.close()


# TCP Fast Open (RFC 7413): the request goes with the SYN, if the server has given a cookie before.


def syn_had_data(connection):
    # tcpi_options is the sixth byte of struct tcp_info.
    return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & TCPI_OPT_SYN_DATA)


def by_sendto(client, to, data):
    sent = client.sendto(data, socket.MSG_FASTOPEN, to)
    client.sendall(data[sent:])


def by_sendto_that_does_not_wait(client, to, data):
    client.setblocking(False)
    sent = client.sendto(data, socket.MSG_FASTOPEN, to)
    client.setblocking(True)
    client.sendall(data[sent:])


def by_connect(client, to, data):
    client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    client.connect(to)
    client.sendall(data)


def fast_listener(host):
    system("ipv4/tcp_fastopen", 3)
    listener = listen(host)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
    return listener


def fastopen(host):
    """The first connection asks for the cookie; of the last one the server does not take what the SYN brings."""
    ways = [(by_sendto, 0), (by_sendto, 0), (by_sendto, 40000), (by_sendto_that_does_not_wait, 0), (by_connect, 0)]
    ways += [(by_connect, 40000), (by_sendto, 0)]
    has_data = [False, True, True, True, True, True, False]

    def check(number, connection):
        assert syn_had_data(connection) == has_data[number], f"of the server's connection {number}"

    listener = fast_listener(host)
    server = Server(listener, len(ways), check)
    for number, (way, size) in enumerate(ways):
        if number == len(ways) - 1:
            system("ipv4/tcp_fastopen", 1)
        client = socket.socket(listener.family, socket.SOCK_STREAM)
        way(client, server.address, request(f"/{way.__name__}/{number}/300", size))
        answer(client)
        assert syn_had_data(client) == has_data[number], f"of the client's connection {number}"
        rest(client, f"{number}", number % 2 == 0)
    server.log()


def fastopen_curl():
    """One call each: with this option curl opens a connection for each of several."""
    def check(number, connection):
        assert syn_had_data(connection) == (number > 0), f"of the server's connection {number}"

    server = Server(fast_listener("127.0.0.1"), 3, check)
    pids = []
    for number in range(3):
        url = f"http://{address(server.address)}/curl/{number}/300"
        curl = subprocess.Popen([REST[0], "-s", "-o", "/dev/null", "--tcp-fastopen", "-d", "some=body", url])
        assert curl.wait() == 0
        pids.append(curl.pid)
    server.log(lambda number: pids[number])


# Multipath TCP (RFC 8684): two ends that both speak it, or one that falls back to TCP.


def multipath_connections():
    """How many connections of this namespace were accepted with MPTCP, as the kernel counts them."""
    with open("/proc/net/netstat") as file:
        names, values = [line.split() for line in file if line.startswith("MPTcpExt:")]
    return int(values[names.index("MPCapableACKRX")])


def mptcp(host, of_listener, of_client):
    listener = listen(host, of_listener)
    server = Server(listener, 2)
    for number in range(2):
        client = socket.socket(listener.family, socket.SOCK_STREAM, of_client)
        client.connect(server.address)
        exchange(client, f"/mptcp/{number}/300")
        exchange_of_pages(client, f"/file/{number}/50000", 20000)
        rest(client, f"{number}", number == 0)
    server.log()
    assert multipath_connections() == (2 if of_listener == of_client == MPTCP else 0)


def mptcp_late():
    """A connection on which there has been an exchange when it says `ready`."""
    listener = listen("127.0.0.1", MPTCP)
    server = Server(listener, 1)
    client = socket.socket(listener.family, socket.SOCK_STREAM, MPTCP)
    client.connect(server.address)
    exchange(client, "/before/300")
    print("server", server.pid)
    ready()
    exchange_of_pages(client, "/file/late/50000", 20000)
    rest(client, "late", True)
    server.log()


def mptcp_calls(port):
    """To a server that somebody else has started, which answers at `/sized/N`."""
    for number in range(3):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
        client.connect(("127.0.0.1", port))
        for size in (0, 300, 200000):
            exchange(client, f"/sized/{size + number}", 1000 * number)
        # mptcpi_flags stands behind eight numbers of a byte (struct mptcp_info).
        flags = struct.unpack_from("=8xI", client.getsockopt(SOL_MPTCP, MPTCP_INFO, 64))[0]
        assert not flags & MPTCP_INFO_FLAG_FALLBACK, "the server speaks TCP"
        client.close()


# Urgent data (RFC 9293 §3.8.5): a byte that a receiver which does not ask for it passes over.


def urgent(connection, data):
    """The last byte is the urgent one. There is one at a time: the next must wait until it has been passed over."""
    assert connection.send(data, socket.MSG_OOB) == len(data)


def urgent_between():
    """Between two exchanges, within a head and a body that are sent, behind one, and within an answer."""
    server = Server(listen("127.0.0.1"), 2)
    for number in range(2):
        client = socket.create_connection(server.address)
        exchange(client, f"/{number}/before/300")
        urgent(client, b"!")
        exchange(client, f"/{number}/behind/300", 300)
        for name, at in [("head", 20), ("body", -1000)]:
            message = request(f"/{number}/{name}/300", 3000)
            client.sendall(message[:at])
            urgent(client, b"!")
            client.sendall(message[at:])
            answer(client)
        message = request(f"/{number}/tail/300", 3000)
        client.sendall(message[:-1000])
        urgent(client, message[-1000:] + b"!")
        answer(client)
        exchange(client, f"/{number}/urgent/3000")
        rest(client, f"{number}", number == 0)
    server.log()


def urgent_inline():
    """The receiver takes it as a byte of the stream: here one that may stand before a request (RFC 9112 §2.2)."""
    listener = listen("127.0.0.1")
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    server = Server(listener, 1)
    client = socket.create_connection(server.address)
    for number in range(3):
        exchange(client, f"/{number}/before/300")
        urgent(client, b"\n")
    rest(client, "inline")
    server.log()


# Pages that are received without a copy: the process maps them.


class Receive(ctypes.Structure):
    """struct tcp_zerocopy_receive, as far as it is needed."""

    _fields_ = [("address", ctypes.c_uint64), ("length", ctypes.c_uint32), ("skip", ctypes.c_uint32)]


def mapped(connection, room, size):
    """Takes some of `size` bytes into `room`, an address that is mapped from the socket. Gives how many; 0 when they must be read."""
    asked = Receive(room, size // PAGE * PAGE, 0)
    length = ctypes.c_uint32(ctypes.sizeof(asked))
    status = libc.getsockopt(
        connection.fileno(), socket.IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, ctypes.byref(asked), ctypes.byref(length)
    )
    assert status == 0, os.strerror(ctypes.get_errno())
    return asked.length


def zerocopy():
    server = Server(listen("127.0.0.1"), 1)
    client = socket.create_connection(server.address)
    exchange(client, "/before-pages/300")
    total = 0
    for number, size in enumerate([8 * PAGE, 40 * PAGE + 100]):
        client.sendall(request(f"/pages/{number}/{size}", 0))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        libc.mmap.restype = ctypes.c_void_p
        room = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, client.fileno(), ctypes.c_long(0))
        assert room not in (None, ctypes.c_void_p(-1).value), os.strerror(ctypes.get_errno())
        left = size
        while left:
            taken = mapped(client, room, left) if left >= PAGE else 0
            if taken:
                assert ctypes.string_at(room, taken) == b"a" * taken
                total += taken
            else:
                taken = len(client.recv(min(left, PAGE)))
                assert taken, "the end of the connection"
            left -= taken
        libc.munmap(ctypes.c_void_p(room), ctypes.c_size_t(size))
    rest(client, "pages", True)
    server.log()
    assert total > 0, "the kernel has mapped nothing"
    print(f"mapped\t{total}")


CASES = {
    "zerocopy": zerocopy,
    "mptcp-late": mptcp_late,
    "mptcp-calls": lambda: mptcp_calls(int(REST[0])),
    "urgent": urgent_between,
    "urgent-inline": urgent_inline,
    "mptcp": lambda: mptcp("127.0.0.1", MPTCP, MPTCP),
    "mptcp6": lambda: mptcp("::1", MPTCP, MPTCP),
    "mptcp-listener": lambda: mptcp("127.0.0.1", MPTCP, 0),
    "mptcp-client": lambda: mptcp("127.0.0.1", 0, MPTCP),
    "fastopen": lambda: fastopen("127.0.0.1"),
    "fastopen6": lambda: fastopen("::1"),
    "fastopen-curl": fastopen_curl,
}

try:
    CASES[CASE]()
except BaseException:
    # A server that waits for its client would wait for ever.
    for pid in Server.pids:
        os.kill(pid, signal.SIGKILL)
    raise
