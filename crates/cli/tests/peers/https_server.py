"""An HTTPS server that does as a file says: `DIR/mode` is read at each connection and names the certificate DIR/<certificate>.pem and what is
answered: the file DIR/<answer>, or nothing at all for `hang`. Usage: https_server.py ADDRESS PORT DIR"""

import pathlib
import socket
import ssl
import sys
import threading

address, port, directory = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
held = []


def serve(client):
    certificate, answer = (directory / "mode").read_text().split()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{certificate}.pem", directory / "server.key")
    try:
        with context.wrap_socket(client, server_side=True) as stream:
            stream.recv(4096)
            if answer == "hang":
                held.append(stream)
                threading.Event().wait()
            body = (directory / answer).read_bytes()
            stream.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    except OSError as error:
        print(f"{certificate} {answer}: {error}", flush=True)


listener = socket.create_server((address, port))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
