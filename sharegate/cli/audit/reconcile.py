"""``sharegate audit reconcile``: which exchanges does only one of two departments' logs have?

Needs the files of both logs (`sharegate mirror`) and their keys; no gateway, database or network.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sharegate.audit.chain import Fault
from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.tiles import bundles_of, parse_bundle
from sharegate.audit.verdict import Malformed
from sharegate.cli.audit.sealed import Files, NotRight, verify_files
from sharegate.cli.options import Verbs
from sharegate.cli.plain import moment
from sharegate.cli.verify import load_log_key
from sharegate.consortium.reading import read_file, read_tile
from sharegate.consortium.reconcile import Finding, OneSided, Side, reconcile
from sharegate.errors import Misconfigured

_SAID: Final = {
    OneSided.NEVER_ASKED: "names a request that the consumer's log does not have",
    OneSided.NOT_THROUGH_ITS_GATEWAY: "names no request: asked past the consumer's own gateway",
    OneSided.NEVER_RECORDED: "an answer came, and the provider's log does not have it",
    OneSided.NEVER_ANSWERED: "was asked; the provider's log has nothing of it",
    OneSided.NEVER_RECEIVED: "was answered; the consumer's log does not say that it came",
}


def add_to(acts: Verbs) -> None:
    """Add the act."""
    act = acts.add_parser("reconcile", help="list exchanges that only one of two logs has")
    act.add_argument("files", type=Path, nargs=2, metavar="DIR",
                     help="a log's files (`sharegate mirror` or `seal`)")  # fmt: skip
    act.add_argument("--log-key", action="append", required=True, metavar="KEY",
                     help="their verifier keys, or files of them, in that order")  # fmt: skip
    act.add_argument("--json", action="store_true", help="print JSON")
    act.set_defaults(run=_run)


def sides(files: Sequence[Path], keys: Sequence[VerifierKey]) -> list[Side]:
    """Verify logs from their files, and read what they say of each other.

    Raises:
        NotRight: One is not a log that was signed, or not one of a gateway.
    """
    found = []
    for directory, key in zip(files, keys, strict=True):
        wrong = verify_files(Files(directory, key), lambda *_: None, processes=2)
        if isinstance(wrong, Fault):
            raise NotRight(f"{directory}: {wrong}")
        try:
            found.append(Side(key.name, _leaves(directory, key)))
        except Malformed as error:
            raise NotRight(f"{directory}: {error}") from error
    return found


def _leaves(directory: Path, key: VerifierKey) -> Iterator[bytes]:
    state = open_checkpoint(read_file(directory / "checkpoint"), [key], key.name)
    for tile in bundles_of(state.size):
        yield from parse_bundle(tile, read_tile(directory, tile))


def _run(chosen: argparse.Namespace) -> int:
    if len(chosen.log_key) != len(chosen.files):
        raise Misconfigured("--log-key", "is needed once for each DIR")
    keys = [load_log_key(key, chosen.files[0]) for key in chosen.log_key]
    if keys[0].name == keys[1].name:
        raise Misconfigured("--log-key", "names one log twice")
    one, other = sides(chosen.files, keys)
    found = [*reconcile(one, other), *reconcile(other, one)]
    if chosen.json:
        print(msgspec.json.encode([_as_json(each) for each in found]).decode())
    else:
        _tell((one, other), found)
    return 1 if any(each.certain for each in found) else 0


def _tell(both: tuple[Side, Side], found: Sequence[Finding]) -> None:
    for each in found:
        doubt = "" if each.certain else "  (the other copy may be too short to have it)"
        print(f"{each.origin}  entry {each.index}  {moment(each.at)}  {_SAID[each.why]}{doubt}")
    asked = sum(
        request.asks == other.origin
        for side, other in (both, both[::-1])
        for request in side.asked.values()
    )
    sure = Counter(each.certain for each in found)
    print(f"{asked} requests between {both[0].origin} and {both[1].origin}: {sure[True] or 'none'} "
          f"one-sided, {sure[False] or 'none'} undecided")  # fmt: skip


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "why": finding.why,
        "log": finding.origin,
        "entry": finding.index,
        "at": finding.at,
        "certain": finding.certain,
    }
