"""Ed25519 keys in a PKCS#11 token (OASIS PKCS #11 3.0, CKM_EDDSA), named by a URI (RFC 7512).

A file that begins with ``pkcs11:`` stands for the key that it names; whatever signs with a key from
a file signs with one from a token just so. Needs the extra ``hsm``.
"""

from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final, Self
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sharegate.errors import Misconfigured

SCHEME: Final = "pkcs11:"
_PUBLIC_BYTES: Final = 32
_PATH: Final = frozenset({"token", "object"})
_QUERY: Final = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True, slots=True)
class TokenUri:
    """Which key it is, and how it is reached.

    Attributes:
        token: The token's label.
        name: The key's label.
        module: The library that speaks to it.
        pin_source: A file with the PIN.
    """

    token: str
    name: str
    module: Path
    pin_source: Path

    @classmethod
    def parse(cls, text: str, base: Path) -> Self:
        """Read the form that is accepted: token and object, module-path and pin-source, once each.

        Args:
            text: ``pkcs11:token=…;object=…?module-path=…&pin-source=…``.
            base: What a relative file is relative to.

        Raises:
            ValueError: It is anything else; for one a PIN in the URI itself.
        """
        path, _, query = text.strip().removeprefix(SCHEME).partition("?")
        named = _attributes(path, ";", _PATH) | _attributes(query, "&", _QUERY)
        pin = named["pin-source"].removeprefix("file:")
        return cls(named["token"], named["object"], Path(named["module-path"]), base / pin)


def _attributes(text: str, between: str, wanted: frozenset[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in text.split(between)]
    found = {name: unquote(value) for name, _, value in pairs}
    if found.keys() != wanted or len(pairs) != len(wanted) or not all(found.values()):
        raise ValueError(f"needs {' and '.join(sorted(wanted))}, once each, and nothing else")
    return found


class TokenKey(Ed25519PrivateKey):
    """A key that its token uses and does not give out."""

    def __init__(self, uri: TokenUri) -> None:
        """Log in, and find the key.

        Raises:
            OSError: The token, or its key, cannot be used now; says why.
        """
        self._uri = uri
        self._lock = Lock()  # a session serves one caller at a time
        self._session: Any = None
        self._key, self._public = self._opened()

    def public_key(self) -> Ed25519PublicKey:
        """The public half."""
        return self._public

    def sign(self, data: Any) -> bytes:
        """Sign; where the session was lost, log in once more.

        Raises:
            OSError: The token does not sign now.
        """
        import pkcs11  # noqa: PLC0415  an extra that most sites do not install

        with self._lock:
            try:
                return self._signed(data)
            except pkcs11.exceptions.PKCS11Error:
                key, public = self._opened()
            if public != self._public:
                raise OSError("the token holds another key now")
            self._key = key
            try:
                return self._signed(data)
            except pkcs11.exceptions.PKCS11Error as error:
                raise OSError(f"the token does not sign ({type(error).__name__})") from error

    def seed(self) -> bytes:
        """32 bytes that only who can use the key can make; the same each time (RFC 8032 5.1.6)."""
        return sha256(self.sign(b"sharegate-seed/v1\n")).digest()

    def private_bytes(self, *_: object, **__: object) -> bytes:
        """Not given out.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a key in a token is not given out")

    def private_bytes_raw(self) -> bytes:
        """Likewise."""
        return self.private_bytes()

    def __copy__(self) -> "TokenKey":
        return self

    def __deepcopy__(self, memo: Any) -> "TokenKey":
        return self

    def _signed(self, data: Any) -> bytes:
        from pkcs11 import Mechanism  # noqa: PLC0415  see above

        return bytes(self._key.sign(bytes(data), mechanism=Mechanism.EDDSA))

    def _opened(self) -> tuple[Any, Ed25519PublicKey]:
        """The key in a new session, and its public half."""
        import pkcs11  # noqa: PLC0415  see above

        try:
            pin = self._uri.pin_source.read_text(encoding="utf-8").strip()
            if self._session is not None:
                with suppress(pkcs11.exceptions.PKCS11Error):  # it may be lost
                    self._session.close()
            library = pkcs11.lib(str(self._uri.module))
            token = library.get_token(token_label=self._uri.token)
            try:
                self._session = session = token.open(user_pin=pin)
            except pkcs11.exceptions.UserAlreadyLoggedIn:  # for another key of it, in this process
                self._session = session = token.open()
            kinds = pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY
            private, public = (
                session.get_key(object_class=kind, label=self._uri.name) for kind in kinds
            )
            # A DER OCTET STRING, or by PKCS #11 3.1 the bytes themselves: they are the last.
            point = bytes(public[pkcs11.Attribute.EC_POINT])[-_PUBLIC_BYTES:]
            return private, Ed25519PublicKey.from_public_bytes(point)
        except (pkcs11.exceptions.PKCS11Error, RuntimeError) as error:
            raise OSError(f"the token cannot be used ({type(error).__name__})") from error


def open_token_key(text: str, base: Path, place: str) -> TokenKey:
    """Open the key that a file names.

    Raises:
        Misconfigured: It cannot be used.
    """
    try:
        uri = TokenUri.parse(text, base)
        return TokenKey(uri)
    except ImportError as error:
        raise Misconfigured(place, "names a token; that needs sharegate[hsm]") from error
    except OSError as error:
        raise Misconfigured(place, error.strerror or str(error)) from error
    except ValueError as error:
        raise Misconfigured(place, f"is no key of a token: {error}") from error
