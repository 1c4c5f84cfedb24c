"""``sharegate receipt``: fetch the receipt of one of one's own exchanges, cosigned if wanted."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final
from uuid import UUID

from sharegate.audit import receipt as tlog_proof
from sharegate.audit.carried import unpack
from sharegate.audit.note import VerifierKey
from sharegate.audit.tree import leaf_hash
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.call import load_caller, send, signed
from sharegate.cli.options import Verbs
from sharegate.cli.verify import LOG_KEY_FILE
from sharegate.record.verified import NotVerified

_OK: Final = 200


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("receipt", help="fetch the receipt of one of one's own exchanges")
    parser.add_argument("exchange_id", type=UUID)
    parser.add_argument("--as", dest="caller", type=Path, required=True, metavar="FILE",
                        help="who asks: the caller's settings (TOML)")  # fmt: skip
    parser.add_argument("--cosigned", action="store_true",
                        help="one that a quorum of witnesses has cosigned")  # fmt: skip
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    caller = load_caller(chosen.caller)
    query = "min=cosigned" if chosen.cosigned else ""
    path = f"/v1/receipts/{chosen.exchange_id}"
    reply = asyncio.run(send(signed(caller, "GET", path, query, b"")))
    if reply.status != _OK:
        print(reply.body.decode(errors="replace"), file=sys.stderr)
        return 1
    try:
        receipt = tlog_proof.parse(reply.body)
        key = VerifierKey.parse(caller.log_key)
        hashed = leaf_hash(unpack(receipt.extra or b""))
        checkpoint = tlog_proof.verify(receipt, hashed, [key], key.name)
    except (Malformed, Unproven) as error:
        raise NotVerified(f"the receipt proves nothing: {error}") from error
    caller.store.mkdir(parents=True, exist_ok=True)
    file = caller.store / f"{chosen.exchange_id}.tlog-proof"
    file.write_bytes(reply.body)
    (caller.store / LOG_KEY_FILE).write_text(caller.log_key + "\n", encoding="utf-8")
    print(f"entry {receipt.index} under a checkpoint of {checkpoint.size} entries; kept: {file}")
    return 0
