"""Given: the name of an HTTP library, the base URL of a server, and the certificate to trust. Gives: the same calls made
through that library, on as few connections as it wants. Refuses to know: whether it is traced.
"""

import asyncio
import http.client
import ssl
import sys
import urllib.parse

LIBRARY, BASE = sys.argv[1:3]
CERTIFICATE = sys.argv[3] if len(sys.argv) > 3 else None
BODY = b"b" * 3000


def context():
    return ssl.create_default_context(cafile=CERTIFICATE)


def parts():
    for size in (1, 700, 9000, 5):
        yield b"p" * size


async def async_parts():
    for part in parts():
        yield part


def calls():
    """Method, path, body or None."""
    for number in range(10):
        yield "GET", f"/v1/{LIBRARY}/{number}?page={number}", None
    yield "HEAD", f"/v1/{LIBRARY}/head", None
    yield "POST", f"/echo/{LIBRARY}/post", BODY
    yield "PUT", f"/echo/{LIBRARY}/chunked", parts
    yield "GET", f"/missing/{LIBRARY}", None
    yield "DELETE", f"/empty/{LIBRARY}", None
    yield "GET", f"/moved/{LIBRARY}", None
    yield "GET", f"/v1/{LIBRARY}/last", None


def through_http_client():
    url = urllib.parse.urlsplit(BASE)
    if url.scheme == "https":
        connection = http.client.HTTPSConnection(url.hostname, url.port, context=context())
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port)
    for method, path, body in calls():
        if callable(body):
            connection.request(method, path, body=body(), encode_chunked=True)
        else:
            connection.request(method, path, body=body)
        connection.getresponse().read()
    connection.close()


def through_requests():
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.verify = CERTIFICATE or True
        for method, path, body in calls():
            session.request(method, BASE + path, data=body() if callable(body) else body)


def through_httpx():
    import httpx

    with httpx.Client(verify=context(), trust_env=False, follow_redirects=True) as client:
        for method, path, body in calls():
            client.request(method, BASE + path, content=body() if callable(body) else body)


async def through_httpx_async():
    import httpx

    async with httpx.AsyncClient(verify=context(), trust_env=False, follow_redirects=True) as client:

        async def make(method, path, body):
            content = async_parts() if callable(body) else body
            response = await client.request(method, BASE + path, content=content)
            await response.aread()

        await asyncio.gather(*(make(*call) for call in calls()))


def through_pycurl():
    """The wheel of pycurl 7.45.3 brings libcurl with OpenSSL 1.1.1. Here it is used when a line has been read."""
    import pycurl

    assert "OpenSSL/1.1.1" in pycurl.version, pycurl.version
    print("loaded", flush=True)
    sys.stdin.readline()
    through_pycurl_at_once()


def through_pycurl_at_once():
    import io

    import pycurl

    curl = pycurl.Curl()
    for method, path, body in calls():
        if callable(body):
            body = b"".join(body())
        curl.reset()
        curl.setopt(curl.URL, BASE + path)
        curl.setopt(curl.CUSTOMREQUEST, method)
        curl.setopt(curl.NOBODY, method == "HEAD")
        curl.setopt(curl.WRITEDATA, io.BytesIO())
        curl.setopt(curl.HTTP_VERSION, curl.CURL_HTTP_VERSION_1_1)
        if body is not None:
            curl.setopt(curl.POST, True)
            curl.setopt(curl.POSTFIELDS, body)
        if CERTIFICATE:
            curl.setopt(curl.CAINFO, CERTIFICATE)
        curl.perform()
    curl.close()


def through_curl_cffi(version="v1"):
    """The wheel brings libcurl with BoringSSL. It is used when a line has been read."""
    import curl_cffi

    print("loaded", flush=True)
    sys.stdin.readline()
    with curl_cffi.Session(verify=CERTIFICATE, http_version=version, trust_env=False) as session:
        for method, path, body in calls():
            session.request(method, BASE + path, data=b"".join(body()) if callable(body) else body)


def through_curl_cffi_http2():
    through_curl_cffi("v2")


def through_awscrt():
    """The wheel brings s2n-tls. It is used when a line has been read."""
    import io

    from awscrt import http as aws, io as aws_io

    print("loaded", flush=True)
    sys.stdin.readline()
    url = urllib.parse.urlsplit(BASE)
    group = aws_io.EventLoopGroup(1)
    bootstrap = aws_io.ClientBootstrap(group, aws_io.DefaultHostResolver(group))
    options = aws_io.TlsContextOptions()
    options.override_default_trust_store_from_path(None, CERTIFICATE)
    tls = aws_io.ClientTlsContext(options).new_connection_options()
    tls.set_server_name(url.hostname)
    connection = aws.HttpClientConnection.new(url.hostname, url.port, bootstrap, tls_connection_options=tls).result()
    for method, path, body in calls():
        data = b"".join(body()) if callable(body) else body or b""
        request = aws.HttpRequest(method, path, body_stream=io.BytesIO(data))
        request.headers.add("Host", url.netloc)
        request.headers.add("Content-Length", str(len(data)))
        stream = connection.request(request)
        stream.activate()
        stream.completion_future.result()
    connection.close().result()


def through_primp():
    """The wheel brings rustls. It is used when a line has been read. A certificate that signs itself is none of a server to it."""
    import primp

    print("loaded", flush=True)
    sys.stdin.readline()
    client = primp.Client(verify=False)
    for number in range(3):
        client.get(f"{BASE}/v1/{LIBRARY}/{number}")


async def through_aiohttp():
    import aiohttp

    connector = aiohttp.TCPConnector(limit=4, ssl=context())
    async with aiohttp.ClientSession(connector=connector) as session:

        async def make(method, path, body):
            data = async_parts() if callable(body) else body
            async with session.request(method, BASE + path, data=data) as response:
                await response.read()

        await asyncio.gather(*(make(*call) for call in calls()))


def main():
    made = globals()["through_" + LIBRARY]()
    if made is not None:
        asyncio.run(made)


main()
