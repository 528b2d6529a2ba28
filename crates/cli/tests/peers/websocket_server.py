"""A WebSocket server that sends back what it gets. Arguments: address, port."""
import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        if message == "bye":
            await connection.close(4321, "as asked")
            return
        await connection.send(message)


async def main():
    async with serve(echo, sys.argv[1], int(sys.argv[2]), subprotocols=["chat.v2"], max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
