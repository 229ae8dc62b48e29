"""Given: a way to send, a way to receive, host and port. Gives: three requests on one connection, each sent and its
response received through exactly those system calls. Refuses to know: whether it is traced.

The response must have a Content-Length, or no body; sending and receiving keep the order of one connection.
"""

import ctypes
import os
import socket
import sys
import tempfile

SEND, RECEIVE, HOST, PORT = sys.argv[1:5]

# Asked for while it is not known how much is to come.
SOME = 1 << 16
libc = ctypes.CDLL(None, use_errno=True)


class Segment(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Header(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("segments", ctypes.POINTER(Segment)),
        ("segment_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Message(ctypes.Structure):
    _fields_ = [("header", Header), ("moved", ctypes.c_uint)]


def messages(buffers):
    """One message for each two buffers, as sendmmsg and recvmmsg want them."""
    segments = (Segment * len(buffers))(*[Segment(ctypes.addressof(b), len(b)) for b in buffers])
    made = (Message * (len(buffers) // 2))()
    for index, message in enumerate(made):
        message.header.segments = ctypes.cast(ctypes.byref(segments, index * 2 * ctypes.sizeof(Segment)), ctypes.POINTER(Segment))
        message.header.segment_count = 2
    # What holds only an address keeps nothing alive.
    made.keep = segments, buffers
    return made


def buffers_of(data):
    """Four pieces, the last with what is left."""
    cuts = [0, 1, 5, 40, len(data)]
    return [ctypes.create_string_buffer(data[a:b], b - a) for a, b in zip(cuts, cuts[1:])]


def pieces(data):
    return [data[:1], b"", data[1:5], data[5:40], data[40:]]


def send_all(connection, data):
    descriptor = connection.fileno()
    if SEND == "write":
        assert os.write(descriptor, data) == len(data)
    elif SEND == "send":
        assert connection.send(data) == len(data)
    elif SEND == "sendto":
        libc.sendto.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        assert libc.sendto(descriptor, data, len(data), socket.MSG_NOSIGNAL, None, 0) == len(data)
    elif SEND == "writev":
        assert os.writev(descriptor, pieces(data)) == len(data)
    elif SEND == "sendmsg":
        assert connection.sendmsg(pieces(data)) == len(data)
    elif SEND == "sendmmsg":
        made = messages(buffers_of(data))
        assert libc.sendmmsg(descriptor, made, len(made), 0) == len(made)
        assert sum(message.moved for message in made) == len(data)
    elif SEND == "sendfile":
        # The head must be seen, the body only counted: as servers use it.
        head, _, body = data.partition(b"\r\n\r\n")
        os.write(descriptor, head + b"\r\n\r\n")
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            while body:
                sent = os.sendfile(descriptor, file.fileno(), file.tell() - len(body), len(body))
                body = body[sent:]
    elif SEND == "splice":
        head, _, body = data.partition(b"\r\n\r\n")
        os.write(descriptor, head + b"\r\n\r\n")
        reader, writer = os.pipe()
        while body:
            held = os.write(writer, body[:4096])
            body = body[held:]
            while held:
                held -= os.splice(reader, descriptor, held)
        os.close(reader)
        os.close(writer)
    else:
        raise SystemExit("no such way to send: " + SEND)


def receive_some(connection, wanted):
    descriptor = connection.fileno()
    if RECEIVE == "read":
        return os.read(descriptor, wanted)
    if RECEIVE == "recv":
        return connection.recv(wanted)
    if RECEIVE == "recv_waitall":
        return connection.recv(1 if wanted == SOME else wanted, socket.MSG_WAITALL)
    if RECEIVE == "peek":
        # Looked at twice, each time less than there is, and then taken in two halves.
        connection.recv(wanted, socket.MSG_PEEK)
        seen = connection.recv(wanted, socket.MSG_PEEK)
        half = connection.recv(max(1, len(seen) // 2))
        assert seen.startswith(half)
        return half
    if RECEIVE == "recvfrom":
        return connection.recvfrom(wanted)[0]
    if RECEIVE == "recvmsg":
        parts = [bytearray(1), bytearray(7), bytearray(max(0, wanted - 8))]
        count = connection.recvmsg_into(parts[: max(1, min(3, wanted))])[0]
        return b"".join(parts)[:count]
    if RECEIVE == "readv":
        parts = [bytearray(1), bytearray(7), bytearray(max(1, wanted - 8))]
        count = os.readv(descriptor, parts)
        return b"".join(parts)[:count]
    if RECEIVE == "recvmmsg":
        room = [ctypes.create_string_buffer(size) for size in (3, 20, 40, 4000)]
        made = messages(room)
        count = libc.recvmmsg(descriptor, made, len(made), 0x10000, None)  # MSG_WAITFORONE
        assert count > 0, ctypes.get_errno()
        data = b""
        for index in range(count):
            whole = room[2 * index].raw + room[2 * index + 1].raw
            data += whole[: made[index].moved]
        return data
    if RECEIVE == "splice":
        # Nobody reads the bytes, so the length of the response must be known.
        reader, writer = os.pipe()
        count = os.splice(descriptor, writer, wanted)
        data = os.read(reader, count)
        os.close(reader)
        os.close(writer)
        return data
    raise SystemExit("no such way to receive: " + RECEIVE)


def receive_response(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(SOME, socket.MSG_PEEK) if RECEIVE == "splice" else None
        if part:
            # The head is read, what is behind it spliced.
            data += connection.recv(part.index(b"\r\n\r\n") + 4)
        else:
            part = receive_some(connection, SOME)
            assert part, "the server closed the connection"
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        part = receive_some(connection, length - len(body))
        assert part, "the server closed the connection"
        body += part
    assert len(body) == length, "a response that was not asked for"


connection = socket.create_connection((HOST, int(PORT)))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for number, size in enumerate([0, 300, 50000]):
    head = f"POST /echo/{SEND}/{RECEIVE}/{number} HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n"
    send_all(connection, head.encode() + b"b" * size)
    receive_response(connection)
    connection.sendall(f"GET /large HTTP/1.1\r\nHost: test\r\nX-Number: {number}\r\n\r\n".encode())
    receive_response(connection)
connection.close()
