"""Calls the server of grpc_server.py in every way that gRPC has, and says line by line what came of it."""
import itertools
import sys
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)])


def unary(name):
    return channel.unary_unary("/peers.Peers/" + name)


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call went well")


def tell(what, result):
    print(f"{what}: {result}", flush=True)


reply, call = unary("Echo").with_call(b"hello", timeout=20)
assert reply == b"hello" and ("x-trailer", "yes") in call.trailing_metadata(), call.trailing_metadata()
tell("unary", "OK, trailing metadata arrived")

large = bytes(range(256)) * 32768
assert unary("Echo")(large, timeout=60) == large
tell("unary, 8 MB each way", "equal")

calls = [unary("Echo").future(str(n).encode(), timeout=60) for n in range(200)]
assert [call.result() for call in calls] == [str(n).encode() for n in range(200)]
tell("200 calls at once on one connection", "all OK")

error = code_of(lambda: unary("Missing")(b"", timeout=20))
assert error.code() == grpc.StatusCode.NOT_FOUND and error.details() == "nothing here: ü", error
tell("status and message", "NOT_FOUND, message as sent")

error = code_of(lambda: unary("NoSuchMethod")(b"", timeout=20))
assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
tell("unknown method", "UNIMPLEMENTED")

assert list(channel.unary_stream("/peers.Peers/Split")(b"stream", timeout=20)) == [b"s", b"t", b"r", b"e", b"a", b"m"]
tell("server streaming", "6 messages")

messages = channel.unary_stream("/peers.Peers/Broken")(b"", timeout=20)
assert [next(messages), next(messages)] == [b"a", b"b"]
error = code_of(lambda: next(messages))
assert error.code() == grpc.StatusCode.DATA_LOSS, error
tell("status in trailers after messages", "DATA_LOSS behind 2 messages")

assert channel.stream_unary("/peers.Peers/Join")(iter([b"ab", b"c", b"d"]), timeout=20) == b"abcd"
tell("client streaming", "3 messages joined")

chat = channel.stream_stream("/peers.Peers/Chat")
words = iter([b"one", b"two", b"three"])
assert list(chat(words, timeout=20)) == [b"ONE", b"TWO", b"THREE"]
tell("bidirectional streaming", "3 messages each way")

started = time.monotonic()
error = code_of(lambda: unary("Slow")(b"", timeout=0.5))
took = time.monotonic() - started
assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and took < 5, (error, took)
assert unary("WasCancelled")(b"", timeout=20) == b"yes"
tell("deadline", "DEADLINE_EXCEEDED, the server saw it")

call = unary("Slow").future(b"", timeout=20)
assert unary("Echo")(b"x", timeout=20) == b"x"
call.cancel()
assert call.code() == grpc.StatusCode.CANCELLED
assert unary("WasCancelled")(b"", timeout=20) == b"yes"
tell("cancellation, unary", "CANCELLED, the server saw it")

ticks = channel.unary_stream("/peers.Peers/Ticks")(b"", timeout=20)
assert list(itertools.islice(ticks, 5)) == [b"tick"] * 5
ticks.cancel()
assert unary("WasCancelled")(b"", timeout=20) == b"yes"
tell("cancellation, streaming", "the server saw it")

assert unary("Flaky")(b"key", timeout=20) == b"3"
tell("retryOn: unavailable", "OK at the third attempt")

error = code_of(lambda: unary("Down")(b"", timeout=20))
assert error.code() == grpc.StatusCode.UNAVAILABLE and error.details() == "never", error
tell("retries used up", "UNAVAILABLE, the server's own message")
