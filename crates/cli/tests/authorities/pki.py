"""What both authorities have in common: roots with an intermediate, leaves, and protobuf messages without generated code."""
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def builder(subject, issuer, key, seconds):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(seconds=30))
        .not_valid_after(now + datetime.timedelta(seconds=seconds))
    )


class Root:
    def __init__(self, text):
        self.root_key, self.key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        own, below = name(text), name(text + " issuing")
        ca = x509.BasicConstraints(ca=True, path_length=None)
        signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = (
            builder(own, own, self.root_key.public_key(), 86400)
            .add_extension(ca, True)
            .add_extension(signs, True)
            .sign(self.root_key, hashes.SHA256())
        )
        self.issuing = (
            builder(below, own, self.key.public_key(), 86400)
            .add_extension(ca, True)
            .add_extension(signs, True)
            .sign(self.root_key, hashes.SHA256())
        )

    def leaf(self, public, names, seconds):
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return (
            builder(name("leaf"), self.issuing.subject, public, seconds)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
            .add_extension(x509.ExtendedKeyUsage(both), False)
            .add_extension(x509.SubjectAlternativeName(names), True)
            .sign(self.key, hashes.SHA256())
        )

    def pem(self):
        return self.certificate.public_bytes(PEM)


def uri(text):
    return x509.UniformResourceIdentifier(text)


def address(text):
    return x509.IPAddress(ipaddress.ip_address(text))


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def pkcs8(key, encoding):
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """(number, value) of every field; numbers for varints."""
    at = 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = read()
        if tag & 7 == 0:
            yield tag >> 3, read()
        else:
            length = read()
            yield tag >> 3, message[at : at + length]
            at += length
