"""What an entry says: canonical, complete, and silent about persons."""

import base64
import json
from hashlib import sha256

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.model.decision import Reason
from sharegate.model.grant import GrantId
from sharegate.model.passage import Disclosure, Refusal
from sharegate.record import entry
from sharegate.record.answer import encode_answer
from sharegate.record.detail import reader_id
from sharegate.record.entry import Label, Salts, b64, commit, counterpart, read_core, unb64
from tests.unit.record.exchanges import (
    CANARY,
    EXCHANGE,
    HOUSING,
    NOW,
    OFFICE,
    SALTS,
    canonical,
    catalogue,
    committed,
    denied,
    disclosed,
    entry_core,
    exchanges,
    failed,
    identified,
    permit,
    public,
    read_json,
    request,
    resource,
    words,
)

many = settings(deadline=None, max_examples=60)


def urlsafe(value):
    return base64.urlsafe_b64encode(value).decode().replace("=", "")


def recorded(pair):
    known, fetched = pair
    answer = None
    if isinstance(fetched.outcome, Disclosure):
        answer = encode_answer(fetched, fetched.outcome, SALTS.response)
    return entry_core(fetched, known=known, answer=answer)[0]


# --- the frozen map of each kind ------------------------------------------------------------


def test_the_entry_of_a_release_is_this_map_and_no_other():
    fetched = disclosed(who=identified(body=b'{"a":1}'))
    answer = encode_answer(fetched, fetched.outcome, SALTS.response)
    core, detail = entry_core(fetched, answer=answer)
    asked_by = f'["owner","{CANARY}-110101199003070019"]'.encode()
    assert core.decode() == canonical(
        {
            "schema": 1,
            "id": urlsafe(EXCHANGE.bytes),
            "kind": "release",
            "time": NOW,
            "caller": {
                "consumer": "civil-affairs",
                "officer": urlsafe(committed(SALTS.officer, "officer", CANARY.encode())),
                "key": "key-1",
                "issuer": "https://issuer.example",
            },
            "provider": "housing",
            "resource": {"id": "properties", "version": 1},
            "mode": "query",
            "asked_by": {"owner": urlsafe(committed(SALTS.asked_by, "asked-by", asked_by))},
            "purpose": {
                "code": "review",
                "legal_basis": "basis-2014",
                "matter": urlsafe(committed(SALTS.matter, "matter", f"DB-{CANARY}-1".encode())),
            },
            "decision": {
                "effect": "permit",
                "rule": "housing-001",
                "rule_set": "rules-hash",
                "fields": ["address"],
                "row_limit": 20,
            },
            "request": urlsafe(committed(SALTS.request, "request", sha256(b'{"a":1}').digest())),
            "response": {
                "rows": 1,
                "bytes": len(answer),
                "digest": urlsafe(committed(SALTS.response, "response", sha256(answer).digest())),
            },
            "detail": {
                "algorithm": "A256GCM",
                "ciphertext": urlsafe(sha256(detail.ciphertext).digest()),
                "plaintext": urlsafe(detail.commitment),
                "readers": sorted([reader_id(public(OFFICE)), reader_id(public(HOUSING))]),
                "retention": "personal-3y",
            },
        }
    )


@pytest.mark.parametrize(
    ("fetched", "kind", "decision"),
    [
        (
            denied(request(), rule=GrantId("housing-009"), reason=Reason.DENIED),
            "refusal",
            {"effect": "deny", "reason": "denied-by-rule", "rule": "housing-009"},
        ),
        (denied(request()), "refusal", {"effect": "deny", "reason": "no-grant"}),
        (
            failed(),
            "failure",
            {
                "effect": "permit",
                "reason": "source-timeout",
                "rule": "housing-001",
                "fields": ["address"],
                "row_limit": 20,
            },
        ),
    ],
)
def test_other_kinds_say_why_and_carry_no_response(fetched, kind, decision):
    entry = read_core(entry_core(fetched)[0])
    assert entry["kind"] == kind
    assert entry["decision"] == decision | {"rule_set": "rules-hash"}
    assert "response" not in entry


@pytest.mark.parametrize("asked_first", [disclosed(), denied(request()), failed()])
@pytest.mark.parametrize("reason", [Reason.REPLAYED, Reason.STALE])
def test_a_replay_is_recorded_as_one_whatever_the_rules_had_said(asked_first, reason):
    again = replace(asked_first, outcome=Refusal(reason, None, "Sent before."))
    entry = read_core(entry_core(again)[0])
    assert entry["kind"] == "refusal"
    assert entry["decision"]["reason"] == reason.value


def test_a_body_that_could_not_be_read_leaves_only_who_and_why():
    entry = read_core(entry_core(denied(None, reason=Reason.MALFORMED))[0])
    assert set(entry) == {"schema", "id", "kind", "time", "caller", "decision", "request", "detail"}


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"provider": "unknown"}, {"provider", "resource", "asked_by"}),
        ({"resource": "unknown"}, {"resource", "asked_by"}),
        ({"mode": "unknown"}, {"mode"}),
    ],
)
def test_an_unknown_name_is_left_out_and_the_known_ones_stay(changes, lost):
    whole = read_core(entry_core(denied(request()))[0])
    entry = read_core(entry_core(denied(request(**changes)))[0])
    assert set(whole) - set(entry) == lost
    purpose = read_core(entry_core(denied(request(purpose="unknown")))[0])["purpose"]
    assert set(purpose) == {"matter"}
    purpose = read_core(entry_core(denied(request(legal_basis="unknown")))[0])["purpose"]
    assert set(purpose) == {"matter", "code"}


@pytest.mark.parametrize("whole", [disclosed(), denied(request())])
def test_the_consumer_s_own_entry_is_named_by_what_nobody_can_choose(whole):
    theirs = CANARY.encode().ljust(32, b"!")
    asked = request(consumer_entry=theirs)
    made = replace(whole, decided=replace(whole.decided, request=asked))
    entry = read_core(entry_core(made)[0])
    named = sha256(b"sharegate-counterpart\0" + theirs).digest()
    assert entry.pop("consumer_entry") == urlsafe(named)
    assert counterpart(theirs) == named
    without = read_core(entry_core(whole)[0])
    assert set(entry) == set(without)


def test_the_largest_core_the_catalogue_allows_fits_in_a_leaf():
    fields = [f"f{n:062d}" for n in range(64)]
    listed = resource(name="r" * 63, fields=fields)
    asked = request(resource="r" * 63, where=dict.fromkeys(fields, "v" * 4000))
    allowed = permit(listed, fields)
    fetched = disclosed(asked=asked, listed=listed)
    fetched = replace(fetched, decided=replace(fetched.decided, decision=allowed))
    core, _ = entry_core(fetched, known=catalogue((listed,)), answer=b"x")
    encode_leaf(2**62, GENESIS, core)


# --- properties over any exchange -----------------------------------------------------------


@many
@given(exchanges())
def test_a_core_is_canonical_and_reads_back(pair):
    core = recorded(pair)
    value = read_json(core)
    assert canonical(value).encode() == core
    assert read_core(core) == value


@many
@given(exchanges())
def test_nothing_a_caller_can_spell_is_in_a_core(pair):
    known, fetched = pair
    core = recorded(pair)
    assert CANARY not in core.decode()
    allowed = {
        "release", "refusal", "failure", "permit", "deny", "A256GCM", "personal-3y", "query",
        "rules-hash", "housing-001", "housing-009", "key-1", "https://issuer.example",
        "civil-affairs", "address", *Reason,
    }  # fmt: skip
    for listed in known.resources.values():
        allowed |= {listed.provider, listed.id, *listed.fields}
    for purpose in known.purposes.values():
        allowed |= {purpose.code, *purpose.legal_bases}
    entry = read_core(core)
    assert entry["id"] == urlsafe(fetched.decided.identified.exchange_id.bytes)
    for path, text in strings(entry):
        opaque = path in OPAQUE or path[0] == "asked_by"
        assert text in allowed or (opaque and len(unb64(text)) in {8, 16, 32}), (path, text)
    assert set(entry.get("asked_by", {})) <= {
        name for listed in known.resources.values() for name in listed.fields
    }


OPAQUE = {
    ("id",), ("request",), ("caller", "officer"), ("purpose", "matter"), ("response", "digest"),
    ("detail", "ciphertext"), ("detail", "plaintext"), ("detail", "readers"),
}  # fmt: skip


def strings(value, path=()):
    match value:
        case str():
            yield path, value
        case list():
            for each in value:
                yield from strings(each, path)
        case dict():
            for name, each in value.items():
                yield from strings(each, (*path, name))


@many
@given(exchanges(), st.data())
def test_read_core_takes_one_spelling_only(pair, data):
    core = recorded(pair)
    value = json.loads(core)
    at = data.draw(st.integers(0, len(core) - 1))
    other = data.draw(
        st.sampled_from(
            [
                json.dumps(value).encode(),
                json.dumps(value, indent=1).encode(),
                json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode(),
                core + b"\n",
                b" " + core,
                b"\xef\xbb\xbf" + core,
                core[:-1] + b',"time":1}',
                core.replace(b'"schema":1', b'"schema":1.0'),
                core.replace(b'"schema":1', b'"schema":1e0'),
                core.replace(b'"schema":1', b'"schema":01'),
                core.replace(b'"schema":1', b'"schema":9007199254740992'),
                core.replace(b'"schema":1', b'"schema":null'),
                core.replace(b'"kind"', b'"\\u006bind"'),
                core.replace(b'"kind"', '"kïnd"'.encode()),
                core[:at],
            ]
        )
    )
    assert other != core
    with pytest.raises(ValueError):
        read_core(other)


@many
@given(exchanges(), st.data())
def test_a_changed_byte_makes_another_core_or_none(pair, data):
    core = recorded(pair)
    at, byte = data.draw(st.integers(0, len(core) - 1)), data.draw(st.integers(0, 255))
    changed = core[:at] + bytes([byte]) + core[at + 1 :]
    try:
        value = read_core(changed)
    except ValueError:
        return
    assert canonical(value).encode() == changed


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b'"x"', b"null", b"[" * 60_000, b"\xff"])
def test_what_is_no_map_is_no_core(data):
    with pytest.raises(ValueError):
        read_core(data)


@pytest.mark.parametrize("depth", [600, 700, 900])
def test_what_is_nested_too_deeply_is_no_core(depth):
    with pytest.raises(ValueError, match="nested too deeply"):
        read_core(b'{"x":' + b"[" * depth + b"]" * depth + b"}")


def test_what_a_core_is_written_from_has_its_members_in_order():
    shapes = [entry._Member]
    for shape in shapes:
        shapes += shape.__subclasses__()
        assert sorted(shape.__struct_fields__) == list(shape.__struct_fields__), shape
    assert len(shapes) == 8


# --- commitments ----------------------------------------------------------------------------


@many
@given(st.binary(min_size=32, max_size=32), st.sampled_from(Label), st.binary(max_size=60))
def test_a_commitment_is_the_documented_hmac(salt, label, value):
    assert commit(salt, label, value) == committed(salt, label.decode()[:-1], value)


commitments = st.tuples(
    st.binary(min_size=32, max_size=32), st.sampled_from(Label), st.binary(max_size=4)
)


@many
@given(commitments, commitments)
@example((bytes(32), Label.OFFICER, b"\0x"), (bytes(32), Label.OFFICER, b"x"))
@example((bytes(32), Label.OFFICER, b"x"), (bytes(32), Label.MATTER, b"x"))
@example((bytes(32), Label.OFFICER, b"x"), (bytes(31) + b"\1", Label.OFFICER, b"x"))
def test_no_other_salt_label_or_value_opens_a_commitment(one, other):
    assert (commit(*one) == commit(*other)) == (one == other)


def test_labels_are_told_apart_by_the_byte_after_them():
    assert all(label.isascii() and label.find(b"\0") == len(label) - 1 for label in Label)
    assert len({commit(bytes(32), label, b"v") for label in Label}) == len(Label) == 7


def test_each_commitment_has_a_salt_of_its_own():
    assert len({getattr(SALTS, name) for name in Salts.__slots__}) == 6
    fetched = denied(request(matter="same"), who=identified(officer="same"))
    one = entry_core(fetched)[0]
    for name in ("officer", "matter", "request", "asked_by"):
        changed = entry_core(fetched, salts=replace(SALTS, **{name: b"\xaa" * 32}))[0]
        before, after = dict(strings(read_core(one))), dict(strings(read_core(changed)))
        differ = {path for path in before if before[path] != after[path]}
        assert {name} == {path[-1] if path[0] != "asked_by" else "asked_by" for path in differ} - {
            "ciphertext",
            "plaintext",
        }


@many
@given(st.binary(max_size=40))
def test_base64url_reads_back_and_takes_one_spelling(value):
    text = b64(value)
    assert text == urlsafe(value)
    assert unb64(text) == value
    for other in (text + "=", text + "A", " " + text, text + "\n", text.replace("-", "+") + "+"):
        try:
            read = unb64(other)
        except ValueError:
            continue
        assert urlsafe(read) == other


@many
@given(words | st.none() | st.integers() | st.binary())
def test_whatever_is_not_base64url_is_refused_as_such(text):
    try:
        value = unb64(text)
    except ValueError:
        return
    assert urlsafe(value) == text
