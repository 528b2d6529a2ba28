"""A gRPC server without generated code: messages are bytes. Its address is the argument."""
import sys
import threading
import time
from concurrent import futures

import grpc

failures = {}
cancelled = threading.Event()


def echo(request, context):
    context.set_trailing_metadata((("x-trailer", "yes"),))
    return request


def missing(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing here: ü")


def flaky(request, context):
    """Unavailable twice for each key, then well."""
    failures[request] = failures.get(request, 0) + 1
    if failures[request] <= 2:
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
    return str(failures[request]).encode()


def down(request, context):
    context.abort(grpc.StatusCode.UNAVAILABLE, "never")


def slow(request, context):
    context.add_callback(cancelled.set)
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(20)
    return b"late"


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(10) and not cancelled.clear() else b"no"


def split(request, context):
    for byte in request:
        yield bytes([byte])


def broken(request, context):
    """Some messages, and then a status that is known only at the end."""
    yield b"a"
    yield b"b"
    context.abort(grpc.StatusCode.DATA_LOSS, "half of it")


def join(requests, context):
    return b"".join(requests)


def chat(requests, context):
    for request in requests:
        yield request.upper()


def ticks(request, context):
    # A generator whose call was cancelled may never be asked again.
    context.add_callback(cancelled.set)
    while context.is_active():
        yield b"tick"
        time.sleep(0.01)


ways = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Missing": grpc.unary_unary_rpc_method_handler(missing),
    "Flaky": grpc.unary_unary_rpc_method_handler(flaky),
    "Down": grpc.unary_unary_rpc_method_handler(down),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    "Split": grpc.unary_stream_rpc_method_handler(split),
    "Broken": grpc.unary_stream_rpc_method_handler(broken),
    "Ticks": grpc.unary_stream_rpc_method_handler(ticks),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
}
server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peers.Peers", ways),))
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
