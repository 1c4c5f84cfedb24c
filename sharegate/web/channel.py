"""TLS, and what a connection's client certificate is called by, read once for each connection."""

import ssl
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from aiohttp import web
from cryptography import x509

from sharegate.errors import Misconfigured
from sharegate.settings import Tls

Names = tuple[str, ...]
_NO_CERTIFICATE: Final = "holds no certificate (PEM)"


def no_channel(_: web.Request) -> Names:
    """A listener without TLS knows nobody by the connection. No header can say otherwise."""
    return ()


def channel() -> Callable[[web.Request], Names]:
    """Make what gives a request's connection its names; it remembers as long as they last."""
    known: WeakKeyDictionary[ssl.SSLObject, Names] = WeakKeyDictionary()

    def names(request: web.Request) -> Names:
        transport = request.transport
        ssl_object = None if transport is None else transport.get_extra_info("ssl_object")
        if ssl_object is None:
            return ()
        found = known.get(ssl_object)
        if found is None:
            found = certificate_names(ssl_object.getpeercert(binary_form=True))
            known[ssl_object] = found
        return found

    return names


def certificate_names(der: bytes | None) -> Names:
    """The names of a certificate whose chain TLS has verified.

    Its thumbprint (SHA-256 of the DER, lower-case hexadecimal) and, if it has exactly one URI
    among its subject alternative names and that is a SPIFFE id (X509-SVID 2), that id.
    """
    if der is None:
        return ()
    thumbprint = sha256(der).hexdigest()
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return (thumbprint,)
    if len(uris) == 1 and uris[0].startswith("spiffe://"):
        return (thumbprint, uris[0])
    return (thumbprint,)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Prepare TLS 1.3, asking for a client certificate where its issuers are named.

    A client may come without one; it is then known by its signature alone.

    Raises:
        Misconfigured: A certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        # OpenSSL says not which of the two files it means.
        if _has_certificate(tls.certificate):
            why = "is no key (PEM) that fits the certificate"
            raise _unusable("key", tls.key, error, why) from error
        raise _unusable("certificate", tls.certificate, error, _NO_CERTIFICATE) from error
    if tls.client_authorities is not None:
        try:
            context.load_verify_locations(tls.client_authorities)
        except OSError as error:
            file = tls.client_authorities
            raise _unusable("client_authorities", file, error, _NO_CERTIFICATE) from error
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _has_certificate(file: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except OSError:
        return False
    return True


def _unusable(setting: str, file: Path, error: OSError, why: str) -> Misconfigured:
    """Name the setting and the file; in OpenSSL's words only what ours may not cover."""
    detail = f"{why}: {error.reason}" if isinstance(error, ssl.SSLError) else error.strerror
    return Misconfigured(f"listen.tls.{setting} ({file})", detail or "cannot be read")
