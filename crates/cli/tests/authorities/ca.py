"""Istio's certificate service as another CA serves it: it signs by its own root, or does what the file `mode` says instead.

Arguments: address, port, directory for root.pem, next.pem and mode. One line of JSON for each request."""
import json
import os
import sys
import threading
from concurrent import futures

import grpc
from cryptography import x509

import pki

host, port, directory = sys.argv[1:]
roots = {"root": pki.Root("upstream"), "next": pki.Root("upstream next"), "stranger": pki.Root("stranger")}
for kind in ("root", "next"):
    with open(os.path.join(directory, kind + ".pem"), "wb") as file:
        file.write(roots[kind].pem())


def mode():
    try:
        with open(os.path.join(directory, "mode")) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def impersonated(metadata):
    """Of a google.protobuf.Struct."""
    for _, entry in pki.fields(metadata):
        parts = dict(pki.fields(entry))
        if parts[1] == b"ImpersonatedIdentity":
            return dict(pki.fields(parts[2]))[3].decode()
    return None


def create(request, context):
    parts = dict(pki.fields(request))
    csr, seconds = x509.load_pem_x509_csr(parts[1]), parts.get(3, 86400)
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    wished = names.get_values_for_type(x509.UniformResourceIdentifier)
    shown = dict(context.invocation_metadata()).get("authorization")
    now = mode()
    said = {"wished": wished, "impersonated": impersonated(parts[4]) if 4 in parts else None, "seconds": seconds, "token": shown, "mode": now}
    print(json.dumps(said), flush=True)
    if shown != "Bearer upstream-token":
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
    own = wished == ["spiffe://cluster.local/ns/istio-system/sa/taut-control"]
    root, public, given = roots["next" if now == "next" else "root"], csr.public_key(), [pki.uri(wished[0])]
    # The control plane itself goes on, so that what is asked through it can be seen.
    if not own:
        if now == "name":
            given = [pki.uri("spiffe://cluster.local/ns/default/sa/admin")]
        elif now == "key":
            public = pki.new_key().public_key()
        elif now == "root":
            root = roots["stranger"]
        elif now == "life":
            seconds = 10 * seconds + 3600
        elif now == "refuse":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not in this cluster")
        elif now == "hang":
            threading.Event().wait(20)
    leaf = root.leaf(public, given, seconds)
    return b"".join(pki.field(1, one.public_bytes(pki.PEM)) for one in (leaf, root.issuing, root.certificate))


key = pki.new_key()
leaf = roots["root"].leaf(key.public_key(), [pki.address(host)], 86400)
chain = leaf.public_bytes(pki.PEM) + roots["root"].issuing.public_bytes(pki.PEM)
server = grpc.server(futures.ThreadPoolExecutor(8))
handlers = {"CreateCertificate": grpc.unary_unary_rpc_method_handler(create)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("istio.v1.auth.IstioCertificateService", handlers),))
server.add_secure_port(f"{host}:{port}", grpc.ssl_server_credentials([(pki.pkcs8(key, pki.PEM), chain)]))
server.start()
print(json.dumps({"serving": True}), flush=True)
server.wait_for_termination()
