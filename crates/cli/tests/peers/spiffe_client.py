# An application with the Python client of SPIFFE (PyPI: spiffe): keeps an X.509-SVID up to date, fetches a JWT-SVID and validates it, and says
# what it got as lines of JSON. Its arguments: how many X.509-SVIDs to wait for, and a directory for the last.
import json
import queue
import sys

from cryptography.hazmat.primitives.serialization import Encoding
from spiffe import JwtSvid, WorkloadApiClient, X509Source

wanted, directory = int(sys.argv[1]), sys.argv[2]


def say(**facts):
    print(json.dumps(facts), flush=True)


client = WorkloadApiClient(default_timeout=30)
with X509Source(workload_api_client=client, timeout_in_seconds=30) as source:
    updates = queue.Queue()
    source.subscribe_for_updates(lambda: updates.put(None))
    seen = []
    while True:
        context = source.get_x509_context()
        svid = context.default_svid
        serial = format(svid.leaf.serial_number, 'x')
        if serial not in seen:
            seen.append(serial)
            bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            say(svid=str(svid.spiffe_id), serial=serial, chain=len(svid.cert_chain), authorities=len(bundle.x509_authorities))
        if len(seen) >= wanted:
            break
        updates.get(timeout=60)
    svid.save(directory + '/svid.pem', directory + '/key.pem', Encoding.PEM)
    bundle.save(directory + '/bundle.pem', Encoding.PEM)

token = client.fetch_jwt_svid(audience={'bank', 'shop'}).token
checked = client.validate_jwt_svid(token, 'bank')
# Once more without asking anybody, by the keys of the trust domain.
keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(checked.spiffe_id.trust_domain)
local = JwtSvid.parse_and_validate(token, keys, {'bank'})
try:
    client.validate_jwt_svid(token, 'elsewhere')
    refused = ''
except Exception as error:
    refused = str(error)
say(jwt=str(local.spiffe_id), audience=sorted(local.audience), refused=refused)
say(done=True)
# The sidecar lives as long as this does.
queue.Queue().get()
