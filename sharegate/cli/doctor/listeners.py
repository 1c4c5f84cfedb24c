"""Checks of where the gateway listens and what departments call it."""

import errno
import http.client
import ipaddress
import re
import socket
import ssl
import urllib.request
from typing import Final

from sharegate.cli.doctor.finding import Finding, ok, warn, wrong
from sharegate.settings import Settings

_SECONDS: Final = 2
_MOST_BYTES: Final = 65_536
_AUTHORITY: Final = re.compile(r"(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?")
_CANNOT_LISTEN: Final = {
    errno.EADDRINUSE: "is taken by something else; stop it or choose another",
    errno.EADDRNOTAVAIL: "is no address of this machine",
    errno.EACCES: "has a port below 1024, which this account may not take",
}
_DEFAULT_PORTS: Final = frozenset({"80", "443"})


def check_listeners(settings: Settings) -> list[Finding]:
    """Both addresses are free, or are this gateway's; the authority is one that can be signed."""
    listen = settings.listen
    origin = settings.audit_log.origin
    found = [
        _address("listen.exchange", listen.exchange, "/log/checkpoint", f"{origin}\n".encode()),
        _address("listen.admin", listen.admin, "/livez", b'{"alive":true}'),
    ]
    if _is_everywhere(listen.admin):
        found.append(warn("listen.admin", "on every interface; it is for a trusted network only"))
    return [*found, _authority(listen.authority, listen.exchange)]


def _address(what: str, address: str, path: str, begins: bytes) -> Finding:
    host, _, port = address.rpartition(":")
    try:
        places = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        for family, kind, protocol, _, place in places:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the gateway does
                probe.bind(place)
    except socket.gaierror:
        return wrong(what, f"{address}: the host is not known here; use one of this machine's")
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _says(address, path, begins):
            return ok(what, f"{address}: a gateway of this configuration answers there")
        why = _CANNOT_LISTEN.get(error.errno or 0, error.strerror or "cannot be listened on")
        return wrong(what, f"{address} {why}")
    return ok(what, f"{address} is free")


def _says(address: str, path: str, begins: bytes) -> bool:
    """Whether that is what answers there, with TLS or without; with any certificate."""
    anyone = ssl.create_default_context()
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    for scheme in ("http", "https"):
        url = f"{scheme}://{address}{path}"
        try:
            with urllib.request.urlopen(  # noqa: S310  an address of this machine
                url, timeout=_SECONDS, context=anyone
            ) as answer:
                said: bytes = answer.read(_MOST_BYTES)
        except (OSError, ValueError, http.client.HTTPException):
            continue
        if said.startswith(begins):
            return True
    return False


def _authority(authority: str, exchange: str) -> Finding:
    what = "listen.authority"
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return wrong(
            what,
            f"{authority!r} is not host or host:port in lower case, without scheme or path; "
            "every signature would be refused",
        )
    if parts["port"] in _DEFAULT_PORTS:
        return warn(what, f"{authority}: clients leave out a default port; so leave it out here")
    host = parts["host"].strip("[]")
    if host in {"0.0.0.0", "::"}:  # noqa: S104  it is refused here
        return wrong(what, f"{authority} is every interface and no name a department can call")
    if _is_loopback(host) and not _is_loopback(exchange.rpartition(":")[0].strip("[]")):
        return warn(what, f"{authority}: only callers on this machine would sign that name")
    return ok(what, f"{authority} is what departments sign")


def _is_everywhere(address: str) -> bool:
    return address.rpartition(":")[0].strip("[]") in {"0.0.0.0", "::", "*"}  # noqa: S104


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
