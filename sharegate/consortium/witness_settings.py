"""What a witness is told: a TOML file of its own, as it may run where no gateway does."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed
from sharegate.consortium.toml_file import read_toml
from sharegate.errors import Misconfigured
from sharegate.settings import Address


class WitnessSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One witness."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[^\s+]{1,255}$",
            description="Its name in every cosignature (C2SP). Never changes; a new name is a "
            "new witness.",
        ),
    ]
    keys: Annotated[
        list[str],
        Meta(
            min_length=1,
            max_length=4,
            description="Private keys (PEM), Ed25519 or ML-DSA-44; it cosigns with each. Secret. "
            "Whoever has one can cosign as this witness.",
        ),
    ]
    listen: Annotated[
        Address, Meta(description="Logs and monitors ask here. Untrusted; put TLS in front of it.")
    ]
    admin: Annotated[Address | None, Meta(description="Metrics. Trusted network only.")] = None
    state: Annotated[
        str,
        Meta(
            description="Directory of what it remembers. Trusted. Lost, it cosigns for nobody "
            "until it begins anew; restored from a backup, it can be led onto another branch."
        ),
    ]
    logs: Annotated[
        list[str],
        Meta(min_length=1, description="Verifier keys (C2SP) of the logs it cosigns for. Trusted."),
    ]
    published: Annotated[
        list[Annotated[str, Meta(pattern=r"^https?://")]],
        Meta(
            description="Where these logs publish cosigned checkpoints (`…/checkpoint` "
            "of what `sharegate seal` writes). Untrusted: only its own cosignatures count, which "
            "show a state that was restored from a backup."
        ),
    ] = []


def load_witness_settings(path: Path) -> WitnessSettings:
    """Read the settings file of a witness; relative paths become relative to it.

    Raises:
        Misconfigured: It cannot be read, is not TOML, or a key is unknown, missing or wrong.
    """
    settings = read_toml(path, WitnessSettings)
    return msgspec.structs.replace(
        settings,
        keys=[str(path.parent / key) for key in settings.keys],
        state=str(path.parent / settings.state),
    )


def read_logs(settings: WitnessSettings) -> list[VerifierKey]:
    """The keys of the logs.

    Raises:
        Misconfigured: One is no log's key, or is listed twice.
    """
    found: list[VerifierKey] = []
    for vkey in settings.logs:
        try:
            key = VerifierKey.parse(vkey)
        except Malformed as error:
            raise Misconfigured("logs", f"has no verifier key: {error}") from error
        if key in found:
            raise Misconfigured("logs", f"lists the key of {key.name} twice")
        found.append(key)
    return found
