"""A detail opens for its readers, and only as what the entry committed to."""

import pytest

from sharegate.record.detail import DetailSealer
from sharegate.record.entry import Salts, b64, read_core
from sharegate.record.opening import open_detail
from sharegate.record.suite import SUITES
from tests.unit.record.exchanges import (
    CANARY,
    CIVIL_AFFAIRS,
    EXCHANGE,
    OFFICE,
    RANDOM,
    Dice,
    disclosed,
    entry_core,
    identified,
    public,
)

BODY = b'{"matter":"A-1"}'


@pytest.fixture(params=SUITES)
def entry(request):
    suite = SUITES[request.param]
    core, detail = entry_core(disclosed(who=identified(body=BODY)), answer=b"{}", suite=suite)
    return read_core(core), detail


def opened(core, detail, key=OFFICE, **changes):
    kept = {"entry_id": EXCHANGE.bytes, "sealed": detail.ciphertext, "wrapped": detail.wrapped}
    return open_detail(core, key, **(kept | changes))


def test_it_opens_for_the_audit_office(entry):
    found = opened(*entry)
    assert (found["officer"], found["body"]) == (CANARY, b64(BODY))


def test_it_does_not_open_for_others_or_once_erased_or_damaged(entry):
    core, detail = entry
    for match, changes in {
        "not sealed to this key": {"key": CIVIL_AFFAIRS},
        "was erased": {"wrapped": None},
        "not the entry's": {"sealed": detail.ciphertext + b"x"},
        "the entry's": {"entry_id": bytes(16)},
        "damaged": {"wrapped": b"{"},
    }.items():
        with pytest.raises(ValueError, match=match):
            opened(core, detail, **changes)


def test_what_was_sealed_by_unknown_means_is_said_to_be(entry):
    core, detail = entry
    for algorithm in ("A512GCM", None, 7):
        claimed = core | {"detail": core["detail"] | {"algorithm": algorithm}}
        with pytest.raises(ValueError, match="an algorithm that is not known"):
            opened(claimed, detail)


def test_an_entry_cannot_be_claimed_to_be_sealed_by_other_means(entry):
    core, detail = entry
    (other,) = SUITES.keys() - {detail.algorithm}
    said = core["detail"] | {
        "algorithm": other, "ciphertext": b64(SUITES[other].digest(detail.ciphertext)),
    }  # fmt: skip
    with pytest.raises(ValueError):
        opened(core | {"detail": said}, detail)


def test_a_detail_sealed_anew_over_other_words_is_not_the_entrys(entry):
    """Somebody with the database and the office's public key can seal; not what was committed."""
    core, _ = entry
    for said in (
        disclosed(who=identified(body=b'{"matter":"B-2"}')),
        disclosed(who=identified(body=BODY, officer="another")),
    ):
        suite = SUITES[core["detail"]["algorithm"]]
        forged = DetailSealer(public(OFFICE), Dice(), suite).seal(said, Salts.cut(RANDOM))
        with pytest.raises(ValueError, match="not the entry's"):
            opened(core, forged)
        digest = suite.digest(forged.ciphertext)
        claimed = core | {"detail": core["detail"] | {"ciphertext": b64(digest)}}
        with pytest.raises(ValueError, match="committed to"):
            opened(claimed, forged)
        claimed["detail"]["plaintext"] = b64(forged.commitment)
        with pytest.raises(ValueError, match="is not the entry's"):
            opened(claimed, forged)
