"""The witnesses' messenger, with witnesses that lie, a database that fails, and a full disk."""

import asyncio
import contextlib
import time
from functools import partial

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit import note as notes
from sharegate.audit.chain import encode_leaf
from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import SignerKey
from sharegate.audit.quorum import Group, Log, Quorum, Witness
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.audit.witnessing import SIZE_TYPE, parse
from sharegate.consortium.cosigning import Cosigning
from sharegate.consortium.coverage import Coverage, extend
from sharegate.consortium.memory import LogState
from sharegate.consortium.witnessed import Witnessed
from sharegate.errors import AuditLogUnavailable, LogDiverged, Unavailable
from sharegate.settings import WitnessesSettings
from tests.integration.audit_database import until

ORIGIN = "log.example"
KEY = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))


def grown(count, *, since=None, core=b"{}"):
    """A log's leaves, and its state after them."""
    leaves, last = [], bytes(32)
    for seq in range(count):
        other = since is not None and seq >= since
        leaves.append(encode_leaf(seq, last, b'{"other":1}' if other else core))
        last = leaf_hash(leaves[-1])
    return leaves, LogState(Frontier.empty().extend([leaf_hash(each) for each in leaves]), last)


def signed(state):
    return sign(Checkpoint(ORIGIN, state.frontier.size, state.frontier.root()), KEY)


class Stored:
    """What the messenger reads of the database."""

    def __init__(self, leaves=()):
        self.stored = list(leaves)
        self.slip = None

    async def _answer(self, found):
        if self.slip is not None:
            raise self.slip
        return found

    async def head(self):
        return await self._answer((ORIGIN, len(self.stored), bytes(32)))

    async def leaves(self, first, most):
        return await self._answer(self.stored[first : first + most])

    async def subtrees(self, _ranges):
        return await self._answer({})

    async def archived(self):
        return await self._answer((0, bytes(32), b""))

    async def cosigned(self):
        return await self._answer(None)


class Signer:
    def __init__(self):
        self.signs = True
        self.frozen = []

    def freeze(self, detail):
        self.frozen.append(detail)
        self.signs = False

    async def keep_cosigned(self, _note):
        pass


class Site:
    """A messenger, its log, and witnesses that answer as they are told."""

    def __init__(self, place, *answers, needed=None):
        self.place, self.answers = place, answers
        self.cosigners = [
            Cosigner(f"w{n}.example", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))
            for n, _ in enumerate(answers)
        ]
        self.needed = needed or len(answers)
        self.told, self.signer = [], Signer()
        leaves, self.state = grown(5)
        self.stored = Stored(leaves)
        self.coverage = Coverage(self.stored)
        self.coverage.resume(self.state, signed(self.state))

    async def __aenter__(self):
        self.stack = contextlib.AsyncExitStack()
        found = {}
        for cosigner, answer in zip(self.cosigners, self.answers, strict=True):
            application = web.Application()
            application.router.add_route("*", "/{any:.*}", partial(answer, cosigner))
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            self.stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            name, url = cosigner.verifier.name, f"http://127.0.0.1:{runner.addresses[0][1]}"
            found[name] = Witness(name, cosigner.verifier, url)
        quorum = Quorum((Log(KEY.verifier),), found, {"g": Group(self.needed, tuple(found))}, "g")
        self.witnessed = Witnessed(
            quorum, self.place / "cosigned.note", self.coverage, lambda _: None, WitnessesSettings()
        )
        self.cosigning = Cosigning(
            quorum, KEY.verifier, self.coverage, self.stored, self.witnessed,
            self.place / "evidence", self.told.append, self.signer,
        )  # fmt: skip
        await self.cosigning.start()
        self.stack.push_async_callback(self.cosigning.stop)
        return self

    async def __aexit__(self, *_):
        await self.stack.aclose()

    async def cosigned(self, size):
        async def done():
            self.witnessed.wanted.set()
            known = self.witnessed.cosigned
            return known is not None and known.checkpoint.size == size

        await until(done)


async def cosigns(cosigner, request, *, lines=1, after=0.0):
    text = notes.parse(parse(await request.read()).note).text
    await asyncio.sleep(after)
    now = int(time.time())
    return web.Response(text="".join(cosigner.cosign(text, now - n).line for n in range(lines)))


def refuses(status, held, size=None):
    async def answer(_cosigner, request):
        await request.read()
        if request.method != "POST":
            return web.Response(body=held) if held else web.Response(status=404)
        body = b"" if size is None else b"%d\n" % size
        return web.Response(status=status, body=body, headers={"Content-Type": SIZE_TYPE})

    return answer


async def test_a_witness_that_answers_with_a_hundred_lines_has_one_vote_and_one_line(tmp_path):
    many, late = partial(cosigns, lines=100), partial(cosigns, after=0.05)
    async with Site(tmp_path, many, late, late, late, needed=3) as site:
        await site.cosigned(5)
        for _ in range(3):  # each would end the lanes that complete a quorum
            stretch = extend(site.coverage.state, [encode_leaf(
                site.coverage.state.frontier.size, site.coverage.state.last, b"{}")])  # fmt: skip
            site.coverage.publish(stretch, signed(stretch.after))
            await site.cosigned(stretch.after.frontier.size)
        assert len(notes.parse(site.witnessed.note).signatures) <= 5
        assert site.told == []


async def test_what_shows_a_fork_stops_the_log_even_where_it_cannot_be_kept(tmp_path):
    (tmp_path / "evidence").write_text("no folder can be made here")
    _, other = grown(5, since=3)
    async with Site(tmp_path, refuses(422, signed(other))) as site:
        site.witnessed.wanted.set()

        async def stopped():
            return site.signer.frozen

        await until(stopped)
        assert "another checkpoint of 5 entries" in site.signer.frozen[0]


async def test_a_database_that_is_down_is_no_witness_that_fails(tmp_path):
    async with Site(tmp_path, refuses(409, None, 3), refuses(422, signed(grown(4)[1]))) as site:
        site.stored.slip = OSError()
        site.witnessed.wanted.set()
        await asyncio.sleep(0.3)
        assert site.told == []
        assert site.signer.frozen == []


async def test_a_drivers_slip_does_not_end_the_messenger(tmp_path):
    async with Site(tmp_path, cosigns) as site:
        site.signer.signs = False
        site.stored.slip = AttributeError("'NoneType' object has no attribute 'bind_execute'")
        site.witnessed.wanted.set()
        await asyncio.sleep(0.3)
        site.stored.slip, site.signer.signs = None, True
        await site.cosigned(5)


async def test_what_another_host_has_shown_since_is_no_fork_and_no_failure(tmp_path):
    leaves, further = grown(9)
    async with Site(tmp_path, refuses(409, signed(further), 9)) as site:
        site.stored.stored = leaves
        site.witnessed.wanted.set()
        await asyncio.sleep(0.3)
        assert site.signer.frozen == []
        assert site.told == []


async def test_a_witness_that_says_it_is_further_and_shows_nothing_fails(tmp_path):
    async with Site(tmp_path, refuses(409, None, 9)) as site:
        site.witnessed.wanted.set()

        async def told():
            return site.told

        await until(told)
        assert (site.told[0].usable, site.signer.frozen) == (False, [])


@pytest.mark.parametrize("here", ["there", "fewer", "others"])
async def test_a_signer_that_takes_over_goes_on_where_the_witnesses_saw_more(tmp_path, here):
    """The one that signed before died before it could keep its last checkpoint."""
    leaves, further = grown(9)
    async with Site(tmp_path, refuses(409, signed(further), 9)) as site:
        site.stored.stored = {
            "there": leaves, "fewer": leaves[:8], "others": grown(9, since=7)[0],
        }[here]  # fmt: skip
        if here == "there":
            await site.cosigning.compare(site.state)
            return
        with pytest.raises(LogDiverged, match="behind: 8" if here == "fewer" else "another"):
            await site.cosigning.compare(site.state)
        assert [each.read_bytes() for each in (tmp_path / "evidence").iterdir()] == [
            signed(further)
        ]


@pytest.mark.parametrize("further", [0, 4])
async def test_what_stopped_a_log_stops_it_again_without_the_witness_that_showed_it(
    tmp_path, further
):
    _, other = grown(5 + further, since=3)
    async with Site(tmp_path, refuses(422, signed(other))) as site:
        with pytest.raises(LogDiverged, match="witness w0"):
            await site.cosigning.compare(site.state)
    (tmp_path / "evidence" / "by-hand.txt").write_text("asked the ministry on Monday")
    async with Site(tmp_path, refuses(503, None)) as site:
        with pytest.raises(LogDiverged, match=r"evidence/[0-9a-f]{32}\.note is a"):
            await site.cosigning.compare(site.state)
    leaves, mended = grown(9, since=3)  # the history that the witness saw is back
    async with Site(tmp_path, refuses(503, None)) as site:
        site.stored.stored = leaves
        await site.cosigning.compare(mended)


async def test_nothing_leaves_on_the_witnesses_word_once_the_log_is_frozen(tmp_path):
    asked, frozen = asyncio.Event(), asyncio.Event()

    async def waits_for_the_freeze(cosigner, request):
        await request.read()
        asked.set()
        await frozen.wait()
        return await cosigns(cosigner, request)

    async with Site(tmp_path, waits_for_the_freeze) as site:
        waits = asyncio.create_task(site.witnessed.covered(4))
        await asked.wait()
        site.coverage.suspend(Unavailable.FROZEN, "a fork")
        frozen.set()
        with pytest.raises(AuditLogUnavailable) as refused:
            await waits
        assert refused.value.reason is Unavailable.FROZEN
