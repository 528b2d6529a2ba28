"""A SPIFFE Workload API as SPIRE's agent serves it: each socket gives one identity, for a few seconds, and the next in time.

Arguments: file that says the phase of a root rotation, then SOCKET=SPIFFE-ID for each workload. Phases: old, both (the new root is believed
too), turned (the new one signs), new."""
import sys
import threading
from concurrent import futures

import grpc

import pki

LIFE = 12
old, new = pki.Root("spire old"), pki.Root("spire new")
PHASES = {"old": ([old], old), "both": ([old, new], old), "turned": ([old, new], new), "new": ([new], new)}
place, workloads = sys.argv[1], [word.split("=", 1) for word in sys.argv[2:]]


def phase():
    with open(place) as file:
        return file.read().strip()


def answer(identity, now):
    believed, signs = PHASES[now]
    key = pki.new_key()
    leaf = signs.leaf(key.public_key(), [pki.uri(identity)], LIFE)
    chain = leaf.public_bytes(pki.DER) + signs.issuing.public_bytes(pki.DER)
    bundle = b"".join(root.certificate.public_bytes(pki.DER) for root in believed)
    svid = pki.field(1, identity.encode()) + pki.field(2, chain) + pki.field(3, pki.pkcs8(key, pki.DER)) + pki.field(4, bundle)
    return pki.field(1, svid)


def serve(socket, identity):
    def fetch(_, context):
        if dict(context.invocation_metadata()).get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        if identity == "none":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        ended = threading.Event()
        context.add_callback(ended.set)
        while not ended.is_set():
            before = phase()
            yield answer(identity, before)
            # At half of its life, or when the roots change.
            for _ in range(LIFE * 5):
                if ended.wait(0.1) or phase() != before:
                    break

    handlers = {"FetchX509SVID": grpc.unary_stream_rpc_method_handler(fetch)}
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", handlers),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server


servers = [serve(*workload) for workload in workloads]
print("serving", flush=True)
for server in servers:
    server.wait_for_termination()
