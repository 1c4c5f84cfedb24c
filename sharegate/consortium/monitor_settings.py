"""What a monitor is told: a TOML file of its own, as it runs where no gateway does."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed
from sharegate.consortium.mirror import Mirror
from sharegate.consortium.monitor import Watched
from sharegate.consortium.toml_file import read_toml
from sharegate.consortium.witness_memory import origin_hash
from sharegate.consortium.witnessed import load_quorum
from sharegate.errors import Misconfigured
from sharegate.settings import Address


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One log that is watched."""

    key: Annotated[str, Meta(description="Its verifier key (C2SP). Trusted.")]
    url: Annotated[
        str,
        Meta(
            pattern=r"^https?://\S+$",
            description="Where it shows its files: `checkpoint` and `tile/` are under it.",
        ),
    ]
    quorum: Annotated[
        str | None,
        Meta(
            description="Its quorum file (C2SP tlog-policy); its witnesses are asked at the URLs "
            "in it. Trusted. Absent: nobody is asked what else the log may have shown."
        ),
    ] = None


class MonitorSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One monitor."""

    state: Annotated[
        str,
        Meta(
            description="Directory of the copies and of the evidence. Trusted. Lost, the copies "
            "are fetched again, and what the logs showed before is forgotten."
        ),
    ]
    admin: Annotated[
        Address | None, Meta(description="Health and metrics. Trusted network only.")
    ] = None
    logs: Annotated[list[LogSettings], Meta(min_length=1, description="The logs.")]


def load_monitor_settings(path: Path) -> tuple[MonitorSettings, list[Watched]]:
    """Read the settings file of a monitor; relative paths are relative to it.

    Raises:
        Misconfigured: It cannot be read, is not TOML, or a key is unknown, missing or wrong.
    """
    settings = read_toml(path, MonitorSettings)
    logs: dict[str, Watched] = {}
    for each in settings.logs:
        try:
            key = VerifierKey.parse(each.key)
        except Malformed as error:
            raise Misconfigured("logs.key", f"is no verifier key: {error}") from error
        if key.name in logs:
            raise Misconfigured("logs.key", f"{key.name} is listed twice")
        home = path.parent / settings.state / origin_hash(key.name)
        quorum = None if each.quorum is None else load_quorum(path.parent / each.quorum)
        logs[key.name] = Watched(Mirror(home, key, each.url), quorum)
    return settings, [*logs.values()]
