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


if WHAT == "calls":
    # NSS itself is loaded when the first handle is made.
    Curl().close()
    ready()
    for file in REST:
        read_with_nspr(file)
    for name in ("one", "two"):
        calls(name)
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
