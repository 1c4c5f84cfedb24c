"""Whom a department asks through its own gateway: a TOML file, as most gateways only answer."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed
from sharegate.consortium.toml_file import read_toml
from sharegate.errors import Misconfigured
from sharegate.settings import Address


class PeerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One provider's gateway."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(https://[!-~]+|http://(127\.0\.0\.1|localhost)(:\d{1,5})?)$",
            description="Where it is, without a path: https, or this machine.",
        ),
    ]
    authority: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9.:\[\]-]{1,255}$",
            description="The host[:port] it believes to be; officer tokens are made for it.",
        ),
    ]
    log_key: Annotated[
        str, Meta(description="Its log's verifier key (C2SP). Trusted: it proves what comes back.")
    ]


class AskingSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How this department asks others."""

    department: Annotated[
        str, Meta(description="Whose questions are passed on, by its id in the registry.")
    ]
    listen: Annotated[
        Address,
        Meta(description="The department's own systems ask here. Untrusted; TLS in front."),
    ]
    authority: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9.:\[\]-]{1,255}$",
            description="The host[:port] that the department's own systems sign.",
        ),
    ]
    key_id: Annotated[str, Meta(description="The key that signs what leaves, as registered.")]
    signing_key: Annotated[
        str,
        Meta(
            description="Its private half (Ed25519, PEM). Secret. Whoever has it, and an officer's "
            "token, asks as this department."
        ),
    ]
    seconds: Annotated[
        float, Meta(gt=0, le=60, description="How long another gateway may take.")
    ] = 30.0
    peers: Annotated[
        dict[str, PeerSettings],
        Meta(min_length=1, description="By provider, as requests name it."),
    ]


def load_asking_settings(path: Path) -> AskingSettings:
    """Read the file; relative paths become relative to it.

    Raises:
        Misconfigured: It cannot be read, is not TOML, or a key is unknown, missing or wrong.
    """
    settings = read_toml(path, AskingSettings)
    for provider, peer in settings.peers.items():
        try:
            VerifierKey.parse(peer.log_key)
        except Malformed as error:
            raise Misconfigured(f"peers.{provider}.log_key", str(error)) from error
    return msgspec.structs.replace(settings, signing_key=str(path.parent / settings.signing_key))
