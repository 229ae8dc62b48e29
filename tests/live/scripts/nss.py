"""Given: what to do, the base URL of a server, the certificate to trust, and files. Gives: calls through libcurl with NSS, and
reads of NSPR that are no TLS; it waits for a line where it says `ready`. Refuses to know: whether it is traced.
"""

import ctypes
import sys

WHAT, BASE, CERTIFICATE, *REST = sys.argv[1:]

# curl/curl.h, 7.1 to 7.88, the last that had NSS.
URL, CUSTOMREQUEST, CAINFO, WRITEFUNCTION = 10002, 10036, 10065, 20011
POSTFIELDSIZE, NOBODY, HTTP_VERSION, HTTP_1_1 = 60, 44, 84, 2
COPYPOSTFIELDS = 10165

curl_library = ctypes.CDLL("libcurl-nss.so.4")
curl_library.curl_easy_init.restype = ctypes.c_void_p
curl_library.curl_version.restype = ctypes.c_char_p
assert b"NSS/" in curl_library.curl_version(), curl_library.curl_version()
discard = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)(
    lambda data, size, count, private: size * count
)


class Curl:
    def __init__(self):
        self.handle = ctypes.c_void_p(curl_library.curl_easy_init())

    def set(self, option, value):
        assert curl_library.curl_easy_setopt(self.handle, ctypes.c_int(option), value) == 0, option

    def call(self, method, path, body=None):
        curl_library.curl_easy_reset(self.handle)
        self.set(URL, (BASE + path).encode())
        self.set(CAINFO, CERTIFICATE.encode())
        self.set(HTTP_VERSION, ctypes.c_long(HTTP_1_1))
        self.set(WRITEFUNCTION, discard)
        if body is not None:
            self.set(POSTFIELDSIZE, ctypes.c_long(len(body)))
            self.set(COPYPOSTFIELDS, body)
        if method == "HEAD":
            self.set(NOBODY, ctypes.c_long(1))
        self.set(CUSTOMREQUEST, method.encode())
        status = curl_library.curl_easy_perform(self.handle)
        assert status == 0, status

    def close(self):
        curl_library.curl_easy_cleanup(self.handle)


def ready():
    print("ready", flush=True)
    sys.stdin.readline()


def calls(name):
    curl = Curl()
    for number in range(10):
        curl.call("GET", f"/v1/{name}/{number}")
    curl.call("HEAD", f"/v1/{name}/head")
    curl.call("POST", f"/echo/{name}/post", b"b" * 30000)
    curl.call("GET", "/page")
    curl.call("GET", f"/missing/{name}")
    curl.close()


def read_with_nspr(file):
    """What is read looks like HTTP, and its descriptor is none of NSS."""
    nspr = ctypes.CDLL("libnspr4.so")
    nspr.PR_Open.restype = ctypes.c_void_p
    descriptor = ctypes.c_void_p(nspr.PR_Open(file.encode(), 1, 0))
    assert descriptor.value
    data = ctypes.create_string_buffer(4096)
    count = nspr.PR_Read(descriptor, data, len(data))
    assert count > 0, count
    nspr.PR_Close(descriptor)


class Address(ctypes.Structure):
    """The form of PRNetAddr that IPv4 has; port and address are big-endian."""

    _fields_ = [("family", ctypes.c_uint16)]
    _fields_ += [(name, ctypes.c_uint8 * size) for name, size in (("port", 2), ("address", 4), ("pad", 8))]


class Vector(ctypes.Structure):
    """PRIOVec."""

    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_int)]


class Connection:
    """TLS through the functions of NSS and NSPR themselves."""

    FOREVER = ctypes.c_uint32(0xFFFFFFFF)

    def __init__(self):
        self.nspr, ssl, nss = [ctypes.CDLL(name) for name in ("libnspr4.so", "libssl3.so", "libnss3.so")]
        for function in (self.nspr.PR_OpenTCPSocket, ssl.SSL_ImportFD):
            function.restype = ctypes.c_void_p
        assert nss.NSS_NoDB_Init(None) == 0 and ssl.NSS_SetDomesticPolicy() == 0
        # PR_AF_INET is 2.
        self.descriptor = ctypes.c_void_p(self.nspr.PR_OpenTCPSocket(2))
        assert ssl.SSL_ImportFD(None, self.descriptor) == self.descriptor.value
        # Whoever answers is believed: the test has started it.
        self.believe = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)(
            lambda *_: 0
        )
        assert ssl.SSL_AuthCertificateHook(self.descriptor, self.believe, None) == 0
        assert ssl.SSL_SetURL(self.descriptor, b"localhost") == 0
        port = int(BASE.rpartition(":")[2])
        to = Address(2, (port >> 8, port & 0xFF), (127, 0, 0, 1))
        assert self.nspr.PR_Connect(self.descriptor, ctypes.byref(to), self.FOREVER) == 0
        assert ssl.SSL_ResetHandshake(self.descriptor, 0) == 0

    def answer(self):
        room, data = ctypes.create_string_buffer(4096), b""
        while b"\r\n\r\n" not in data or len(data) < data.index(b"\r\n\r\n") + 4 + length(data):
            count = self.nspr.PR_Read(self.descriptor, room, len(room))
            assert count > 0, self.nspr.PR_GetError()
            data += room.raw[:count]
        assert data.startswith(b"HTTP/1.1 200"), data

    def by_write(self, path):
        data = f"GET {path} HTTP/1.1\r\nHost: nss\r\n\r\n".encode()
        assert self.nspr.PR_Write(self.descriptor, data, len(data)) == len(data), self.nspr.PR_GetError()
        self.answer()

    def by_writev(self, path):
        parts = [f"GET {path} HTTP/1.1\r\n".encode(), b"Host: nss\r\n\r\n"]
        vector = (Vector * 2)(*[(part, len(part)) for part in parts])
        sent = self.nspr.PR_Writev(self.descriptor, vector, 2, self.FOREVER)
        assert sent == sum(map(len, parts)), self.nspr.PR_GetError()
        self.answer()

    def close(self):
        assert self.nspr.PR_Close(self.descriptor) == 0


def length(answer):
    return int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])


def vectors():
    """On the first connection the second call of three goes by PR_Writev, on the second all do, on the third none."""
    for name, ways in [("mixed", "wvw"), ("vectors", "vvv"), ("plain", "www")]:
        connection = Connection()
        for number, way in enumerate(ways):
            (connection.by_writev if way == "v" else connection.by_write)(f"/v1/{name}/{number}")
        connection.close()


if WHAT == "calls":
    # NSS itself is loaded when the first handle is made.
    Curl().close()
    ready()
    for file in REST:
        read_with_nspr(file)
    for name in ("one", "two"):
        calls(name)
elif WHAT == "vectors":
    Curl().close()
    ready()
    vectors()
elif WHAT == "late":
    curl = Curl()
    curl.call("GET", "/v1/before/1")
    ready()
    for number in range(3):
        curl.call("GET", f"/v1/known/{number}")
    curl.close()
    curl = Curl()
    for number in range(3):
        curl.call("GET", f"/v1/new/{number}")
    curl.close()
