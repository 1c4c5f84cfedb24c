"""How far the witnesses are: by the quorum file, what they signed and the time; nothing else."""

import asyncio
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit import checkpoint, note
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import Note, SignerKey
from sharegate.audit.quorum import Cosigned, Group, Log, Quorum, Witness
from sharegate.consortium.witnessed import (
    Standing,
    Witnessed,
    load_quorum,
    quorum_time,
)
from sharegate.errors import AuditLogUnavailable, Misconfigured, Unavailable
from sharegate.observe import Cosignatures
from sharegate.settings import WitnessesSettings

ORIGIN = "tax.example/log"
LOG = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
COSIGNERS = {
    name: Cosigner(name, Ed25519PrivateKey.from_private_bytes(name.encode() * 32))
    for name in "abcd"
}
QUORUM = Quorum(
    (Log(LOG.verifier),),
    {name: Witness(name, each.verifier) for name, each in COSIGNERS.items()},
    {"all": Group(3, tuple("abcd"))},
    "all",
)
NOW = 1_795_190_400
LIMITS = WitnessesSettings()
STALE_SECONDS, STALE_ENTRIES, CLOSED_SECONDS = 15 * 60, 10_000, 4 * 3600


def cosigned(size, **times):
    text = checkpoint.encode(Checkpoint(ORIGIN, size, bytes(31) + bytes([size % 256])))
    lines = [COSIGNERS[name].cosign(text, at) for name, at in times.items()]
    return note.encode(Note(text, (LOG.sign(text), *lines)))


class Site:
    """A log of some size, a clock and a file."""

    def __init__(self, place):
        self.now = NOW
        self.seen = []
        self.file = place / "cosigned.note"
        self.coverage = SimpleNamespace(
            state=SimpleNamespace(frontier=SimpleNamespace(size=100)), under=self.under
        )

    async def under(self, index, state, data):
        return index, state.size, data

    def witnessed(self):
        return Witnessed(
            QUORUM, self.file, self.coverage, self.seen.append, LIMITS, lambda: self.now
        )


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9)))
def test_a_quorum_is_as_old_as_the_youngest_three(times):
    found = quorum_time(QUORUM, Cosigned(Checkpoint(ORIGIN, 1, bytes(32)), LOG.verifier, times))
    ranked = sorted(times.values(), reverse=True)
    assert found == (ranked[2] if len(ranked) >= 3 else 0)


async def test_what_a_quorum_cosigned_is_kept_and_taken_up_by_others(site):
    one, other = site.witnessed(), site.witnessed()
    await one.keep(cosigned(90, a=NOW, b=NOW, c=NOW))
    assert one.cosigned.checkpoint.size == 90
    assert other.cosigned is None
    other.look()
    assert other.note == one.note == site.file.read_bytes()
    assert site.seen[-1] == Cosignatures(age=0, unseen=10)
    assert site.witnessed().cosigned.checkpoint.size == 90  # after a restart


async def test_what_is_less_or_older_or_forged_is_passed_over(site):
    witnessed = site.witnessed()
    await witnessed.keep(cosigned(90, a=NOW, b=NOW, c=NOW))
    kept = site.file.read_bytes()
    other = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"o" * 32))
    text = checkpoint.encode(Checkpoint(ORIGIN, 95, bytes(32)))
    for worthless in (
        cosigned(95, a=NOW, b=NOW), cosigned(89, a=NOW, b=NOW, c=NOW), b"", b"what?",
        note.encode(Note(text, (other.sign(text),))),
        cosigned(95, a=NOW, b=NOW, c=NOW).replace(b"\n95\n", b"\n96\n"),
    ):  # fmt: skip
        await witnessed.keep(worthless)
        site.file.write_bytes(worthless)
        witnessed.look()
        assert site.witnessed().cosigned is None or worthless.startswith(b"tax.example/log\n89\n")
        assert witnessed.cosigned.checkpoint.size == 90
        site.file.write_bytes(kept)
    await witnessed.keep(cosigned(90, a=NOW + 1, b=NOW + 1, c=NOW + 1, d=NOW + 1))  # refreshed
    assert set(witnessed.cosigned.times) == set("abcd")


def test_of_the_same_size_the_quorum_that_is_younger_stays(site):
    witnessed = site.witnessed()
    assert witnessed.take_up(cosigned(90, a=NOW, b=NOW, c=NOW))
    late = cosigned(90, a=NOW - 9, b=NOW - 9, c=NOW - 9, d=NOW + 1)
    assert not witnessed.take_up(late)
    assert quorum_time(QUORUM, witnessed.cosigned) == NOW


def refused(witnessed, *, detail):
    try:
        witnessed.require(detail=detail)
    except AuditLogUnavailable as unavailable:
        return unavailable.reason is Unavailable.UNWITNESSED
    return False


async def test_availability_is_graded(site):
    witnessed = site.witnessed()
    assert witnessed.standing() is Standing.CLOSED
    assert refused(witnessed, detail=True)  # nobody ever saw this log
    assert refused(witnessed, detail=False)
    await witnessed.keep(cosigned(90, a=NOW, b=NOW, c=NOW - 3, d=NOW - 500))
    for seconds, detail, all_ in (
        (0, False, False), (STALE_SECONDS - 3, False, False), (STALE_SECONDS - 2, True, False),
        (CLOSED_SECONDS - 3, True, False), (CLOSED_SECONDS - 2, True, True), (10**9, True, True),
        (-100, False, False),  # a clock that was put back
    ):  # fmt: skip
        site.now = NOW + seconds
        assert refused(witnessed, detail=True) is detail, seconds
        assert refused(witnessed, detail=False) is all_, seconds
        assert witnessed.standing() is list(Standing)[detail + all_]
    site.now = NOW
    for size, detail in ((90 + STALE_ENTRIES, False), (91 + STALE_ENTRIES, True), (80, False)):
        site.coverage.state.frontier.size = size
        assert refused(witnessed, detail=True) is detail, size
        assert not refused(witnessed, detail=False)


async def test_an_entry_waits_until_it_is_cosigned_here_or_by_another_process(site, monkeypatch):
    witnessed, other = site.witnessed(), site.witnessed()
    await witnessed.keep(cosigned(90, a=NOW, b=NOW, c=NOW))
    assert (await witnessed.covered(89))[:2] == (89, 90)
    waiting = asyncio.create_task(witnessed.covered(90))
    await asyncio.sleep(0.01)
    assert witnessed.wanted.is_set()
    await witnessed.keep(cosigned(91, a=NOW, b=NOW, c=NOW))
    assert (await waiting)[:2] == (90, 91)
    waiting = asyncio.create_task(witnessed.covered(94))
    await other.keep(cosigned(95, a=NOW, b=NOW, c=NOW))
    assert (await waiting)[:2] == (94, 95)
    monkeypatch.setattr("sharegate.consortium.witnessed._PATIENCE_SECONDS", 0.01)
    with pytest.raises(AuditLogUnavailable, match="not cosigned this entry yet"):
        await witnessed.covered(95)


@pytest.mark.parametrize("content", [None, b"", b"quorum all\n", b"\xff"])
def test_a_quorum_file_that_is_none_is_named(tmp_path, content):
    file = tmp_path / "quorum"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Misconfigured) as refused_:
        load_quorum(file)
    assert refused_.value.place == str(file)


def test_a_quorum_file_lists_the_log_it_is_for(tmp_path):
    file = tmp_path / "quorum"
    file.write_text(f"log {LOG.vkey}\nquorum none\n")
    assert load_quorum(file, LOG.verifier) == load_quorum(file)
    other = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"o" * 32))
    with pytest.raises(Misconfigured, match=f"does not list the key of {ORIGIN}"):
        load_quorum(file, other.verifier)
