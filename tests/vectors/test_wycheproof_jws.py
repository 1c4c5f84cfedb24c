"""Project Wycheproof's JSON Web Signature vectors, through the officer token's JWS layer.

Every vector of every group is tried under every algorithm we know that its key could serve.
Nothing invalid may be accepted. Of what is valid we refuse what we never use: other algorithms,
keys and headers with members we do not take.
"""

import itertools
import json
import os
from pathlib import Path

import pytest

from sharegate.errors import Unauthenticated
from sharegate.identify.jws import ALGORITHMS, issuer_key, take_apart

VECTORS = os.environ.get("SHAREGATE_VECTORS")


@pytest.fixture(scope="module")
def groups():
    path = Path(VECTORS or "", "wycheproof", "json_web_signature_test.json")
    if not VECTORS or not path.is_file():
        pytest.skip(f"SHAREGATE_VECTORS names no folder that holds wycheproof/{path.name}")
    return json.loads(path.read_text(encoding="utf-8"))["testGroups"]


def accepted(algorithm, jwk, token):
    try:
        key = issuer_key(algorithm, jwk)
        key.verify(take_apart(token))
    except (ValueError, Unauthenticated):
        return False
    return True


def believed_wrongly(groups, without=()):
    """Vectors believed though invalid, or under an algorithm other than the key's own."""
    for group in groups:
        whole = group.get("public") or group["private"]
        jwk = {name: value for name, value in whole.items() if name not in without}
        for test, algorithm in itertools.product(group["tests"], ALGORITHMS):
            right = test["result"] == "valid" and whole.get("alg") == algorithm
            if accepted(algorithm, jwk, test["jws"]) and not right:
                yield test["tcId"], test["comment"], algorithm


def test_nothing_invalid_is_accepted(groups):
    assert list(believed_wrongly(groups)) == []


def test_nothing_invalid_is_accepted_where_the_key_names_no_algorithm(groups):
    # 332 is a genuine RS256 signature; its one fault is the `alg` of the key, which is left out.
    wrong = list(believed_wrongly(groups, without={"alg"}))
    assert wrong == [(332, "UsingRS256", "RS256")]


def test_what_is_valid_and_refused_is_refused_on_purpose(groups):
    refused = {"RS256": set(), "ES256": set()}
    believed = {"RS256": 0, "ES256": 0}
    for group in groups:
        jwk = group.get("public") or {}
        if jwk.get("alg") not in refused:
            continue
        for test in group["tests"]:
            if test["result"] == "valid" and accepted(jwk["alg"], jwk, test["jws"]):
                believed[jwk["alg"]] += 1
            elif test["result"] == "valid":
                refused[jwk["alg"]].add((test["tcId"], test["comment"]))
    # 259 has an empty payload, 349 a key with key_ops: neither is of use to an officer token.
    assert refused == {"RS256": {(259, "emptyPayload"), (349, "Figure13")}, "ES256": set()}
    assert believed == {"RS256": 6, "ES256": 2}


def test_the_vectors_are_all_there(groups):
    assert sum(len(group["tests"]) for group in groups) == 401
    assert sum(test["result"] == "invalid" for g in groups for test in g["tests"]) > 300
