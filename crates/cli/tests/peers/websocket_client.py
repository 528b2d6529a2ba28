"""Talks to websocket_server.py and says line by line what came of it. The argument is its URL."""
import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def tell(what, result):
    print(f"{what}: {result}", flush=True)


async def main():
    async with connect(sys.argv[1], subprotocols=["chat.v1", "chat.v2"], max_size=None, proxy=None) as connection:
        assert connection.subprotocol == "chat.v2", connection.subprotocol
        await connection.send("hello")
        assert await connection.recv() == "hello"
        tell("text, subprotocol", "as sent")
        large = os.urandom(4 << 20)
        await connection.send(large)
        assert await connection.recv() == large
        tell("binary, 4 MB", "equal")

        async def pieces():
            for piece in ("a", "b", "c"):
                yield piece

        await connection.send(pieces())
        assert await connection.recv() == "abc"
        tell("fragments", "joined")
        await asyncio.wait_for(await connection.ping(), 10)
        tell("ping", "pong")
        for number in range(500):
            await connection.send(str(number))
        for number in range(500):
            assert await connection.recv() == str(number)
        tell("500 messages in a row", "in order")
        await connection.send("bye")
        try:
            await connection.recv()
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4321, "as asked"), closed
        tell("close", "code and reason of the server")


asyncio.run(main())
