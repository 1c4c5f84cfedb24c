"""``sharegate verify``: check an answer against its receipt, offline.

Needs two files and the log's public key; no gateway, no database, no network.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sharegate.audit import receipt as tlog_proof
from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.quorum import open_cosigned, read_quorum, require_quorum
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.options import Verbs
from sharegate.cli.plain import moment, plain
from sharegate.consortium.members import read_invitation
from sharegate.consortium.reading import read_file
from sharegate.consortium.succession import open_succession
from sharegate.errors import Misconfigured
from sharegate.record.verified import NotVerified, Verified, verify_answer

LOG_KEY_FILE: Final = "log.vkey"


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("verify", help="check an answer against its receipt, offline")
    parser.add_argument("answer", type=Path, help="the answer, byte for byte as it came")
    parser.add_argument("receipt", type=Path, help="its receipt (.tlog-proof)")
    parser.add_argument(
        "--log-key",
        metavar="VKEY|FILE",
        help=f"the log's public key; default: the file {LOG_KEY_FILE} beside the receipt",
    )
    parser.add_argument(
        "--quorum",
        type=Path,
        metavar="FILE",
        help="a quorum file: enough of these witnesses must have cosigned too",
    )
    parser.add_argument(
        "--succession",
        type=Path,
        metavar="FILE",
        help="that the log ended, as administrators signed it; with --invitation",
    )
    parser.add_argument("--invitation", type=Path, metavar="FILE", help="whose word counts")
    parser.set_defaults(run=_run)


def verify_witnessed(receipt: bytes, quorum_file: Path) -> str:
    """Check that enough witnesses have cosigned what a receipt leads to; say which, and when.

    Args:
        receipt: One that was verified.
        quorum_file: A C2SP tlog-policy, from a source one trusts.

    Raises:
        NotVerified: They have not, or the file is none.
    """
    try:
        quorum = read_quorum(read_file(quorum_file))
        cosigned = open_cosigned(tlog_proof.parse(receipt).checkpoint_note, quorum)
        require_quorum(cosigned, quorum)
    except OSError as error:
        raise NotVerified(f"{error.filename}: {error.strerror}") from error
    except (Malformed, Unproven) as error:
        raise NotVerified(str(error)) from error
    said = (f"{name} ({moment(at * 1000)})" for name, at in sorted(cosigned.times.items()))
    return f"cosigned by {', '.join(said)}"


def verify_not_ended(receipt: bytes, verified: Verified, chosen: argparse.Namespace) -> None:
    """Check that a receipt of a log that ended still counts.

    Args:
        receipt: One that was verified.
        verified: What it proves.
        chosen: The succession, whose word counts, and whether a quorum was demanded and met.

    Raises:
        NotVerified: It does not, or there is no such succession.
    """
    try:
        trust = read_invitation(chosen.invitation).trust(str(chosen.invitation))
        succession, _ = open_succession(read_file(chosen.succession), trust)
        if succession.old.name != verified.origin:
            raise NotVerified(f"{chosen.succession} is of {succession.old.name}")
        note = tlog_proof.parse(receipt).checkpoint_note
        state = open_checkpoint(note, [succession.old], succession.old.name)
        succession.judge(state, cosigned=chosen.quorum is not None)
    except OSError as error:
        raise NotVerified(f"{error.filename}: {error.strerror}") from error
    except (Malformed, Unproven) as error:
        raise NotVerified(str(error)) from error


def describe(verified: Verified) -> str:
    """Say in a few lines what was proven; no value of the entry makes a line of its own."""
    entry = verified.entry
    caller, purpose = _map(entry.get("caller")), _map(entry.get("purpose"))
    resource, decision = _map(entry.get("resource")), _map(entry.get("decision"))
    rows = _map(entry.get("response")).get("rows")
    at = entry.get("time")
    when = moment(at) if isinstance(at, int) else plain(at)
    entries = "1 entry" if verified.size == 1 else f"{verified.size} entries"
    return (
        f"verified: entry {verified.index} of {verified.origin}, under its signed checkpoint of "
        f"{entries}\n"
        f"  {when}  {plain(caller.get('consumer'))} asked {plain(entry.get('provider'))}/"
        f"{plain(resource.get('id'))} ({plain(entry.get('mode'))})\n"
        f"  for {plain(purpose.get('code'))} ({plain(purpose.get('legal_basis'))}), by grant "
        f"{plain(decision.get('rule'))}; rows: {plain(rows)}"
    )


def read_log_key(given: str | None, receipt: Path) -> str:
    """Find the log's public key: given as text, as a file, or beside the receipt.

    Raises:
        NotVerified: There is none.
        Misconfigured: The file is not one of text.
    """
    place = receipt.parent / LOG_KEY_FILE if given is None else Path(given)
    if given is not None and "+" in given and not _is_there(place):
        return given
    try:
        return read_file(place).decode()
    except OSError as error:
        raise NotVerified(f"no log key at {place}: give --log-key") from error
    except (Malformed, UnicodeDecodeError) as error:
        raise Misconfigured(str(place), "is not a key: a line of UTF-8 text") from error


def load_log_key(given: str, beside: Path, option: str = "--log-key") -> VerifierKey:
    """Read the log's public key that an option gives, as text or as a file.

    Raises:
        Misconfigured: It is no verifier key.
        NotVerified: There is none.
    """
    try:
        return VerifierKey.parse(read_log_key(given, beside).strip())
    except Malformed as error:
        raise Misconfigured(option, str(error)) from error


def _run(chosen: argparse.Namespace) -> int:
    if (chosen.succession is None) != (chosen.invitation is None):
        raise NotVerified("--succession and --invitation go together")
    try:
        answer, receipt = chosen.answer.read_bytes(), read_file(chosen.receipt)
    except OSError as error:
        raise NotVerified(f"{error.filename}: {error.strerror}") from error
    except Malformed as error:
        raise NotVerified(str(error)) from error
    log_key = read_log_key(chosen.log_key, chosen.receipt)
    verified = verify_answer(answer, receipt, log_key)
    witnesses = None if chosen.quorum is None else verify_witnessed(receipt, chosen.quorum)
    if chosen.succession is not None:
        verify_not_ended(receipt, verified, chosen)
    print(describe(verified))
    if witnesses is not None:
        print(f"  {witnesses}")
    return 0


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # a key may be longer than a file's name can be
        return False


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
