"""Given: `serve`, or a port to call; with a certificate to trust, that of a server that speaks no gRPC. Gives: calls of gRPC of
each kind; with a certificate a single one over TLS, at the first line of input. Refuses to know: whether they are traced. No
protocol buffers: messages are bytes.
"""

import concurrent.futures
import sys

import grpc

SERVICE = "live.Games"


class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        name = details.method.rsplit("/", 1)[-1]
        if name == "Get":
            return grpc.unary_unary_rpc_method_handler(lambda message, context: message * 2)
        if name == "Missing":
            return grpc.unary_unary_rpc_method_handler(missing)
        if name == "Watch":
            return grpc.unary_stream_rpc_method_handler(watch)
        if name == "Add":
            return grpc.stream_unary_rpc_method_handler(lambda messages, _: b"%d" % sum(map(len, messages)))
        if name == "Chat":
            return grpc.stream_stream_rpc_method_handler(lambda messages, _: iter(list(messages)))
        return None


def missing(message, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "there is none")


def watch(message, context):
    for number in range(int(message)):
        yield b"event %d" % number


def serve():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening {port}", flush=True)
    sys.stdin.readline()
    server.stop(1).wait()


def call(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        get = channel.unary_unary(f"/{SERVICE}/Get")
        for number in range(20):
            assert get(b"x" * number * 50) == b"x" * number * 100
        for future in [get.future(b"together") for _ in range(10)]:
            future.result()
        watch = channel.unary_stream(f"/{SERVICE}/Watch")
        for count in (0, 1, 25):
            assert len(list(watch(b"%d" % count))) == count
        add = channel.stream_unary(f"/{SERVICE}/Add")
        assert add(iter([b"a" * 10] * 7)) == b"70"
        chat = channel.stream_stream(f"/{SERVICE}/Chat")
        assert len(list(chat(iter([b"hello"] * 5)))) == 5
        for method, code in (("Missing", grpc.StatusCode.NOT_FOUND), ("Nothing", grpc.StatusCode.UNIMPLEMENTED)):
            try:
                channel.unary_unary(f"/{SERVICE}/{method}")(b"")
                raise AssertionError("it succeeded")
            except grpc.RpcError as error:
                assert error.code() == code, error


def call_over_tls(port, certificate):
    print("ready", flush=True)
    sys.stdin.readline()
    with open(certificate, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        try:
            channel.unary_unary(f"/{SERVICE}/Get")(b"x")
            raise AssertionError("it succeeded")
        except grpc.RpcError as error:
            assert error.code() != grpc.StatusCode.UNAVAILABLE, error


if sys.argv[1] == "serve":
    serve()
elif len(sys.argv) > 2:
    call_over_tls(*sys.argv[1:])
else:
    call(sys.argv[1])
