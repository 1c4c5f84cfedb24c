"""Agreement with the public Merkle vectors of transparency-dev/merkle."""

import base64
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from sharegate.audit.proof import (
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from sharegate.audit.verdict import Unproven

HOW_MANY = {"inclusion": 98, "consistency": 98, "subtreeinclusion": 204, "subtreeconsistency": 118}

_FOLDER = os.environ.get("SHAREGATE_VECTORS", "")
_FILES = sorted((Path(_FOLDER) / "merkle").rglob("*.json")) if _FOLDER else []

pytestmark = pytest.mark.skipif(
    not _FOLDER,
    reason="the public vectors are not here: SHAREGATE_VECTORS does not name their folder",
)


def _kind(file):
    return file.relative_to(Path(_FOLDER) / "merkle").parts[0]


def _check(kind, vector):
    def data(name):
        return base64.b64decode(vector[name] or "", validate=True)

    path = [base64.b64decode(step, validate=True) for step in vector["proof"] or ()]
    match kind:
        case "inclusion":
            place = vector["leafIdx"], vector["treeSize"]
            verify_inclusion(*place, data("leafHash"), path, data("root"))
        case "subtreeinclusion":
            subtree = vector["start"], vector["end"]
            verify_subtree_inclusion(
                vector["leafIdx"], subtree, data("leafHash"), path, data("root")
            )
        case "consistency":
            sizes = vector["size1"], vector["size2"]
            verify_consistency(*sizes, data("root1"), data("root2"), path)
        case "subtreeconsistency":
            subtree = vector["start"], vector["end"]
            verify_subtree_consistency(subtree, vector["size"], data("root1"), data("root2"), path)
        case _:
            pytest.fail(f"vectors of an unknown kind: {kind}")


def test_all_vectors_are_here():
    assert Counter(map(_kind, _FILES)) == HOW_MANY
    assert len(_FILES) == 518


@pytest.mark.parametrize("kind", HOW_MANY)
def test_every_vector_gets_the_public_verdict(kind):
    wrong = []
    for file in _FILES:
        if _kind(file) != kind:
            continue
        vector = json.loads(file.read_bytes())
        try:
            _check(kind, vector)
            refused = False
        except Unproven:
            refused = True
        if refused != vector["wantErr"]:
            wrong.append(f"{file.name}: {vector['desc']}")
    assert wrong == []
