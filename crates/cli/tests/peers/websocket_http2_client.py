"""WebSocket over one stream of HTTP/2 (RFC 8441), frames made by hand. Arguments: host, port."""
import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

host, port = sys.argv[1], int(sys.argv[2])
sock = socket.create_connection((host, port), timeout=20)
connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
connection.initiate_connection()
sock.sendall(connection.data_to_send())
received, seen = bytearray(), []


def wait_for(found):
    """Reads until `found` says something of what has been seen."""
    while (result := found()) is None:
        data = sock.recv(65536)
        assert data, f"the connection ended after {seen}"
        for event in connection.receive_data(data):
            seen.append(event)
            if isinstance(event, h2.events.DataReceived):
                received.extend(event.data)
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        sock.sendall(connection.data_to_send())
    return result


def first(kind):
    return next((event for event in seen if isinstance(event, kind)), None)


def framed(opcode, payload):
    """Masked with zeroes, as a client's frames must be masked."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFE]) + len(payload).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


wait_for(lambda: first(h2.events.RemoteSettingsChanged))
enabled = connection.remote_settings.enable_connect_protocol
assert enabled == 1, "the proxy does not offer extended CONNECT"
stream = connection.get_next_available_stream_id()
connection.send_headers(stream, [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"), (":authority", "server:9080"),
    ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat.v2"),
])
sock.sendall(connection.data_to_send())
headers = dict(wait_for(lambda: first(h2.events.ResponseReceived)).headers)
assert headers[":status"] == "200" and headers["sec-websocket-protocol"] == "chat.v2", headers
print("extended CONNECT: 200, subprotocol of the server", flush=True)

text = b"x" * 10000
connection.send_data(stream, framed(1, b"hello") + framed(2, text))
sock.sendall(connection.data_to_send())
want = b"\x81\x05hello" + b"\x82\x7e" + len(text).to_bytes(2, "big") + text
wait_for(lambda: len(received) >= len(want) or None)
assert bytes(received) == want, received[:50]
print("text, binary of 10 kB: as sent", flush=True)

received.clear()
connection.send_data(stream, framed(1, b"bye"))
sock.sendall(connection.data_to_send())
wait_for(lambda: received.endswith(b"as asked") or None)
assert received[:2] == bytes([0x88, 10]) and received[2:4] == (4321).to_bytes(2, "big"), received
connection.send_data(stream, framed(8, bytes(received[2:4])), end_stream=True)
sock.sendall(connection.data_to_send())
wait_for(lambda: first(h2.events.StreamEnded))
print("close: code and reason of the server, the stream ends", flush=True)
