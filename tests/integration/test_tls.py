"""Real TLS: what a connection shows is what the walk is told, and only that."""

import datetime as dt
import ssl
from hashlib import sha256
from ipaddress import ip_address

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sharegate.errors import Misconfigured, Unauthenticated, Unproven
from sharegate.settings import Limits, Tls
from sharegate.web.channel import certificate_names, channel, tls_context
from sharegate.web.exchange import ExchangeRoutes

SPIFFE = "spiffe://gov.example/department/tax"
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


class Authority:
    """Somebody who issues certificates."""

    def __init__(self, place, name):
        self.place, self.name = place, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._issue(name, self.key.public_key(), ca=True)
        (place / f"{name}.ca.pem").write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(self, name, *names, until=DAY):
        """A certificate and its key as files; gives their path and the thumbprint."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._issue(name, key.public_key(), names=names, until=until)
        path = self.place / f"{name}.pem"
        path.write_bytes(
            made.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return path, sha256(made.public_bytes(Encoding.DER)).hexdigest()

    def _issue(self, name, public, *, ca=False, names=(), until=DAY):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 2 * DAY)
            .not_valid_after(NOW + until)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
        )
        if ca:
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment",
                 "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False,
            )  # fmt: skip
            builder = builder.add_extension(
                x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True
            )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, SHA256())


class Listening:
    """Stands where the gateway stands and keeps what it was told of the connection."""

    def __init__(self):
        self.peers = []

    async def exchange(self, arrived, *, receipt):
        self.peers.append(arrived.peer)
        raise Unauthenticated(Unproven.TOKEN_MISSING, "Authorization", "nobody")


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"), "members")


@pytest.fixture
async def served(members):
    loopback = x509.IPAddress(ip_address("127.0.0.1"))
    path, _ = members.issue("gateway", loopback)
    context = tls_context(
        Tls(certificate=path, key=path, client_authorities=members.place / "members.ca.pem")
    )
    gateway = Listening()
    routes = ExchangeRoutes(gateway, lambda: b"", Limits(), lambda _: None, channel())
    runner = web.AppRunner(routes.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield gateway, f"https://127.0.0.1:{runner.addresses[0][1]}/v1/exchanges"
    await runner.cleanup()


def client(members, path=None, version=ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=members.place / "members.ca.pem")
    context.maximum_version = version
    if path is not None:
        context.load_cert_chain(path)
    return context


async def ask(url, context, times=1, headers=None):
    async with aiohttp.ClientSession() as session:
        for _ in range(times):
            async with session.post(url, json={}, ssl=context, headers=headers) as answer:
                assert answer.status == 401


async def test_a_connection_is_called_by_its_certificate(served, members):
    gateway, url = served
    path, thumbprint = members.issue("tax", x509.UniformResourceIdentifier(SPIFFE))
    await ask(url, client(members, path), times=3)
    assert gateway.peers == [(thumbprint, SPIFFE)] * 3


async def test_its_names_are_read_once_for_each_connection(served, members, monkeypatch):
    gateway, url = served
    read = []
    monkeypatch.setattr(
        "sharegate.web.channel.certificate_names", lambda der: read.append(der) or ("n",)
    )
    path, _ = members.issue("often")
    await ask(url, client(members, path), times=4)
    await ask(url, client(members, path))
    assert len(read) == 2
    assert gateway.peers == [("n",)] * 5


async def test_without_a_certificate_there_is_no_name_and_no_header_gives_one(served, members):
    gateway, url = served
    claims = {"X-Forwarded-Client-Cert": "Hash=ab", "X-SSL-Client-Verify": "SUCCESS"}
    await ask(url, client(members), headers=claims)
    assert gateway.peers == [()]


async def test_a_certificate_of_another_authority_or_of_yesterday_ends_the_handshake(
    served, members, tmp_path
):
    gateway, url = served
    stranger, _ = Authority(tmp_path, "members").issue("tax")
    late, _ = members.issue("late", until=-DAY)
    for path in (stranger, late):
        with pytest.raises(aiohttp.ClientError):
            await ask(url, client(members, path))
    with pytest.raises(aiohttp.ClientError):
        await ask(url, client(members, version=ssl.TLSVersion.TLSv1_2))
    assert gateway.peers == []


def test_only_one_uri_and_only_a_spiffe_id_is_a_name(members):
    uri = x509.UniformResourceIdentifier
    for names in ((), (uri("https://tax.example"),), (uri(SPIFFE), uri(SPIFFE + "-2"))):
        path, thumbprint = members.issue("odd", *names)
        der = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
        assert certificate_names(der) == (thumbprint,)
    assert certificate_names(None) == ()
    assert certificate_names(b"no certificate") == (sha256(b"no certificate").hexdigest(),)


@pytest.mark.parametrize(
    ("field", "holds"),
    [(field, holds) for field in Tls.__struct_fields__ for holds in (None, "nothing of the kind")]
    + [("key", "a certificate")],
)
def test_a_file_that_cannot_be_used_refuses_to_start_and_is_named(members, tmp_path, field, holds):
    path, _ = members.issue("gateway-2")
    authority = members.place / "members.ca.pem"
    bad = authority if holds == "a certificate" else tmp_path / "bad.pem"
    if holds == "nothing of the kind":
        bad.write_text(holds)
    files = {"certificate": path, "key": path, "client_authorities": authority} | {field: bad}
    with pytest.raises(Misconfigured) as refused:
        tls_context(Tls(**files))
    assert refused.value.place == f"listen.tls.{field} ({bad})"
    assert ("No such file" in refused.value.detail) is (holds is None)
