"""Agreement of note signatures with Wycheproof's Ed25519 vectors."""

import json
import os
from pathlib import Path

import pytest

from sharegate.audit.note import VerifierKey

_FOLDER = os.environ.get("SHAREGATE_VECTORS", "")

pytestmark = pytest.mark.skipif(
    not _FOLDER,
    reason="the public vectors are not here: SHAREGATE_VECTORS does not name their folder",
)


def test_a_key_accepts_what_wycheproof_calls_valid_and_nothing_else():
    vectors = json.loads((Path(_FOLDER) / "wycheproof" / "ed25519_test.json").read_bytes())
    seen = 0
    wrong = []
    for group in vectors["testGroups"]:
        key = VerifierKey("wycheproof", bytes.fromhex(group["publicKey"]["pk"]))
        for test in group["tests"]:
            seen += 1
            accepted = key.accepts(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
            if accepted != (test["result"] == "valid"):
                wrong.append((test["tcId"], test["comment"]))
    assert wrong == []
    assert seen == vectors["numberOfTests"] > 0
