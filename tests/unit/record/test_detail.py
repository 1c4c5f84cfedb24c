"""The sealed detail: who can open it, and what stays provable when nobody can."""

import json
from base64 import urlsafe_b64decode
from hashlib import sha256
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sharegate.model.passage import Disclosure
from sharegate.record.answer import encode_answer, open_answer
from sharegate.record.detail import DetailSealer, reader_id, unseal
from sharegate.record.entry import SALT_BYTES, Salts, core, read_core
from sharegate.record.suite import SUITES
from tests.unit.record.exchanges import (
    CANARY,
    CIVIL_AFFAIRS,
    EXCHANGE,
    HOUSING,
    NOW,
    OFFICE,
    SALTS,
    Dice,
    canonical,
    committed,
    denied,
    disclosed,
    exchanges,
    identified,
    public,
    request,
)

BOTH = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
STRANGER = X25519PrivateKey.from_private_bytes(b"\x09" * 32)


def opened(detail, key, exchange_id=EXCHANGE):
    return unseal(
        key,
        suite=SUITES[detail.algorithm],
        exchange_id=exchange_id.bytes,
        ciphertext=detail.ciphertext,
        wrapped=detail.wrapped,
    )


def bare(text):
    return urlsafe_b64decode(text + "==")


@BOTH
def test_the_provider_and_the_audit_office_read_it_and_nobody_else(suite):
    who = identified(body=b'{"matter":"x"}', officer="officer-17")
    detail = DetailSealer(public(OFFICE), Dice(), suite).seal(disclosed(who=who), SALTS)
    for key in (HOUSING, OFFICE):
        read = opened(detail, key)
        assert read["schema"] == 1
        assert read["officer"] == "officer-17"
        assert bare(read["body"]) == b'{"matter":"x"}'
        assert {n: bare(salt) for n, salt in read["salts"].items()} == {
            name: getattr(SALTS, name) for name in Salts.__struct_fields__
        }
    for key in (CIVIL_AFFAIRS, STRANGER):
        with pytest.raises(ValueError):
            opened(detail, key)
    assert detail.readers == tuple(sorted(reader_id(public(key)) for key in (HOUSING, OFFICE)))


@pytest.mark.parametrize(
    "asked", [None, request(provider="unknown"), request(provider="tax")], ids=str
)
def test_without_a_provider_that_can_read_the_audit_office_alone_does(asked):
    detail = DetailSealer(public(OFFICE), Dice()).seal(denied(asked), SALTS)
    assert opened(detail, OFFICE)["officer"] == CANARY
    assert detail.readers == (reader_id(public(OFFICE)),)
    for key in (HOUSING, CIVIL_AFFAIRS):
        with pytest.raises(ValueError):
            opened(detail, key)


@BOTH
def test_a_reader_cannot_be_swapped_in_under_anothers_name(suite):
    detail = DetailSealer(public(OFFICE), Dice(), suite).seal(disclosed(), SALTS)
    wrapped = json.loads(detail.wrapped)
    wrapped["to"] = {reader_id(public(STRANGER)): next(iter(wrapped["to"].values()))}
    with pytest.raises(ValueError):
        opened(replace(detail, wrapped=json.dumps(wrapped).encode()), STRANGER)


@BOTH
def test_nothing_personal_shows_through(suite):
    detail = DetailSealer(public(OFFICE), Dice(), suite).seal(disclosed(), SALTS)
    for shown in (detail.ciphertext, detail.wrapped, detail.commitment):
        assert CANARY.encode() not in shown
        assert not any(getattr(SALTS, name) in shown for name in Salts.__struct_fields__)


def test_the_rows_are_not_in_it():
    found = disclosed(rows=(("No. 7 Row Lane",),))
    detail = DetailSealer(public(OFFICE), Dice()).seal(found, SALTS)
    assert "No. 7 Row Lane" not in json.dumps(opened(detail, OFFICE))
    assert len(detail.ciphertext) == len(
        DetailSealer(public(OFFICE), Dice()).seal(disclosed(rows=()), SALTS).ciphertext
    )


@BOTH
def test_it_belongs_to_one_exchange(suite):
    detail = DetailSealer(public(OFFICE), Dice(), suite).seal(disclosed(), SALTS)
    with pytest.raises(ValueError):
        opened(detail, OFFICE, UUID(int=EXCHANGE.int ^ 1))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_no_changed_byte_opens_to_something_else(data):
    suite = data.draw(st.sampled_from(list(SUITES.values())))
    detail = DetailSealer(public(OFFICE), Dice(), suite).seal(disclosed(), SALTS)
    whole = opened(detail, OFFICE)
    part = data.draw(st.sampled_from(["ciphertext", "wrapped"]))
    value = getattr(detail, part)
    at, flip = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(1, 255))
    spoilt = value[:at] + bytes([value[at] ^ flip]) + value[at + 1 :]
    try:
        assert opened(replace(detail, **{part: spoilt}), OFFICE) == whole
        assert part == "wrapped"  # in what is meant for the other reader, say
    except ValueError:
        pass


@pytest.mark.parametrize("wrapped", [b"", b"{}", b"[]", b'{"to":{},"key":""}', b'{"to":1,"key":1}'])
def test_what_is_no_wrapped_key_is_refused(wrapped):
    detail = DetailSealer(public(OFFICE), Dice()).seal(disclosed(), SALTS)
    with pytest.raises(ValueError):
        opened(replace(detail, wrapped=wrapped), OFFICE)


# --- keys ------------------------------------------------------------------------------------


def to(detail):
    return json.loads(detail.wrapped)["to"]


def at(sealer, moment, asked=None):
    return sealer.seal(denied(asked or request(), who=identified(at=moment)), SALTS)


@pytest.mark.parametrize(
    ("later", "same"), [(0, True), (59_999, True), (60_000, False), (10**9, False), (-1, False)]
)
def test_a_wrapping_key_lives_a_minute_and_never_runs_backwards(later, same):
    sealer = DetailSealer(public(OFFICE), Dice())
    assert (to(at(sealer, NOW)) == to(at(sealer, NOW + later))) is same


def test_after_the_clock_went_back_the_fresh_wrapping_key_has_a_minute_of_its_own():
    sealer = DetailSealer(public(OFFICE), Dice())
    at(sealer, NOW)
    back = at(sealer, NOW - 1000)
    assert to(at(sealer, NOW + 58_999)) == to(back)
    assert to(at(sealer, NOW + 59_000)) != to(back)
    assert opened(back, HOUSING) == opened(at(sealer, NOW), HOUSING)


def test_each_provider_has_a_wrapping_key_of_its_own():
    sealer = DetailSealer(public(OFFICE), Dice())
    office = reader_id(public(OFFICE))
    one = at(sealer, NOW)
    other = at(sealer, NOW, request(provider="civil-affairs"))
    nobody = at(sealer, NOW, request(provider="unknown"))
    assert len({to(each)[office] for each in (one, other, nobody)}) == 3
    # The provider of one entry cannot open another's, whichever wrapping it is given.
    crossed = json.dumps({"to": to(one), "key": json.loads(other.wrapped)["key"]}).encode()
    with pytest.raises(ValueError):
        opened(replace(other, wrapped=crossed), HOUSING)


def test_every_entry_has_a_key_of_its_own_so_one_can_be_erased_alone():
    sealer = DetailSealer(public(OFFICE), Dice())
    one, other = at(sealer, NOW), at(sealer, NOW)
    assert to(one) == to(other)
    assert one.ciphertext != other.ciphertext
    with pytest.raises(ValueError):
        opened(replace(one, wrapped=other.wrapped), OFFICE)


# --- what the detail proves ------------------------------------------------------------------


def spelt(value):
    """A value that was asked by; its integers may be larger than a core's."""
    return str(value) if type(value) is int else canonical(value)


@settings(deadline=None, max_examples=40)
@given(exchanges(), st.binary(min_size=192, max_size=192))
def test_the_detail_opens_every_commitment_of_its_core(pair, random):
    _, fetched = pair
    salts = Salts.cut(random)
    who, asked = fetched.decided.identified, fetched.decided.request
    answer = None
    if isinstance(fetched.outcome, Disclosure):
        answer = encode_answer(fetched, fetched.outcome, salts.response)
    detail = DetailSealer(public(OFFICE), Dice()).seal(fetched, salts)
    entry = read_core(core(fetched, salts, detail, answer))
    read = opened(detail, OFFICE, who.exchange_id)
    salt = {name: bare(text) for name, text in read["salts"].items()}

    assert bare(entry["caller"]["officer"]) == committed(
        salt["officer"], "officer", read["officer"].encode()
    )
    body_digest = sha256(bare(read["body"])).digest()
    assert bare(entry["request"]) == committed(salt["request"], "request", body_digest)
    if asked is not None:
        assert bare(entry["purpose"]["matter"]) == committed(
            salt["matter"], "matter", asked.matter.encode()
        )
    for name, opaque in entry.get("asked_by", {}).items():
        said = f"[{canonical(name)},{spelt(asked.where[name])}]"
        assert bare(opaque) == committed(salt["asked_by"], "asked-by", said.encode())
    if answer is not None:
        digest = bare(entry["response"]["digest"])
        assert digest == committed(salt["response"], "response", sha256(answer).digest())


def test_with_its_key_erased_all_but_the_detail_can_still_be_checked():
    fetched = disclosed()
    answer = encode_answer(fetched, fetched.outcome, SALTS.response)
    detail = DetailSealer(public(OFFICE), Dice()).seal(fetched, SALTS)
    erased = replace(detail, wrapped=b"")
    kept = core(fetched, SALTS, detail, answer)
    assert core(fetched, SALTS, erased, answer) == kept
    assert bare(read_core(kept)["detail"]["ciphertext"]) == sha256(erased.ciphertext).digest()
    assert open_answer(answer, kept) == read_core(kept)
    with pytest.raises(ValueError):
        opened(erased, OFFICE)


def test_salts_are_cut_from_all_the_random_bytes_without_overlap():
    assert b"".join(getattr(SALTS, name) for name in Salts.__struct_fields__) == bytes(range(192))
    assert all(len(getattr(SALTS, name)) == SALT_BYTES for name in Salts.__struct_fields__)
