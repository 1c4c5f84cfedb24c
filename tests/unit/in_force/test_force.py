"""What is in force changes while exchanges go on: recorded first, remembered, then exchanged."""

import asyncio
import contextlib
import functools
import os
from itertools import pairwise
from types import SimpleNamespace

import msgspec
import pytest

from sharegate.errors import AuditLogUnavailable, Misconfigured, Unavailable
from sharegate.in_force import InForce, force
from sharegate.model.act import ActKind
from sharegate.model.signed import REGISTRY_SET, ROOT_SET, Fault, SetRefused
from sharegate.observe import RuleSetLoaded, RulesRefused
from tests.unit.in_force.signed_site import signed_site

PATIENCE_SECONDS = 30
PERSON = """
[[person]]
id = "li-na"
department = "tax"
role = "{role}"
public = "C+mLXGS/kvycqu8cDDXVXsx15KiaBTL7K7K/vyCoU7c="
not_before = 2026-01-01T00:00:00Z
not_after = 2028-01-01T00:00:00Z
"""
BUREAU = """
[[department]]
id = "bureau-{:02d}"
name_zh = "局"
name_en = "Bureau"
"""


class Written:
    """Stands for the recorder: keeps acts, and refuses them while it is told to."""

    def __init__(self):
        self.acts = []
        self.once = set()
        self.down = False
        self.tried = 0
        self.members = None

    def require_usable(self):
        if self.down:
            raise AuditLogUnavailable(Unavailable.DOWN, "down")

    async def record_act(self, act, entry_id):
        self.tried += 1
        self.require_usable()
        if act.once in self.once:
            return None
        self.once.add(act.once)
        self.acts.append(act)
        return SimpleNamespace()

    def adopt(self, registry):
        self.members = registry


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(force, "LOOK_SECONDS", 0.01)


@pytest.fixture
def site(tmp_path):
    return signed_site(tmp_path)


@contextlib.asynccontextmanager
async def in_force(site, recorder, seen=None):
    made = InForce(site.judge(), site.memory(), (seen if seen is not None else []).append)
    made.start(recorder)
    try:
        yield made
    finally:
        await made.stop()


async def until(true):
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():
            await asyncio.sleep(0.002)


def usable(made):
    try:
        made.require_usable()
    except AuditLogUnavailable:
        return False
    return True


def effects(recorder):
    return [(act.facts["set"], act.facts["effect"]) for act in recorder.acts]


def widen(site):
    site.change("tax", "10,,channel,,,PIA-2025-TAX001", "20,,channel,,,PIA-2025-TAX001")


async def test_the_first_start_records_every_set_and_a_restart_none(site):
    recorder = Written()
    async with in_force(site, recorder) as made:
        assert not usable(made)  # nothing is asked under rules that nobody wrote down
        with pytest.raises(AuditLogUnavailable, match="not recorded yet"):
            made.identify(None)
        await until(lambda: usable(made))
    assert effects(recorder) == [
        (name, "in-force") for name in (REGISTRY_SET, ROOT_SET, "civil-affairs", "housing", "tax")
    ]
    assert [act.kind for act in recorder.acts] == [ActKind.REGISTRY] + [ActKind.POLICY] * 4
    assert [act.by for act in recorder.acts][1:3] == ["administrators", "civil-affairs"]
    again = Written()
    async with in_force(site, again) as made:
        await until(lambda: usable(made))
        assert again.acts == []


async def test_a_change_is_in_force_once_it_is_recorded(site):
    recorder, seen = Written(), []
    async with in_force(site, recorder, seen) as made:
        await until(lambda: usable(made))
        before = made.rules
        recorder.down = True
        tried = recorder.tried
        widen(site)
        site.sign("tax")
        await until(lambda: recorder.tried > tried + 2)
        assert made.rules is before
        assert site.memory().recall()["tax"].version == 1
        recorder.down = False
        await until(lambda: made.rules is not before)
        assert site.memory().recall()["tax"].version == 2
        act = recorder.acts[-1]
        assert act.facts == {
            "set": "tax", "effect": "in-force", "version": 2,
            "digest": made.rules.sets["tax"].statement.digest, "signers": ("tax",),
            "rule_set": made.rules.rule_set.hash,
        }  # fmt: skip
        assert act.provider == "tax"
        assert act.detail == {"note": site.note("tax").read_text()}
        assert recorder.members is made.rules.registry
        assert [one.rule_set for one in seen if isinstance(one, RuleSetLoaded)] == [
            before.rule_set.hash, made.rules.rule_set.hash
        ]  # fmt: skip


async def test_a_refusal_is_one_entry_and_the_old_rules_decide(site):
    recorder, seen = Written(), []
    async with in_force(site, recorder, seen) as made:
        await until(lambda: usable(made))
        before, written = made.rules, len(recorder.acts)
        widen(site)
        await until(lambda: len(recorder.acts) > written)
        # Another set changes while that one is still refused: its entry is not written again.
        site.change("housing", "version = 1", "version = 2", "resources.toml")
        site.sign("housing")
        await until(lambda: made.rules is not before)
        for _ in range(30):
            await asyncio.sleep(0.01)
        assert effects(recorder)[written:] == [("tax", "refused"), ("housing", "in-force")]
        act = recorder.acts[written]
        assert act.facts["fault"] == "altered"
        assert act.by == "gateway"
        assert "grants.csv" in act.detail["reason"]
        assert made.rules.sets["tax"] == before.sets["tax"]
        assert [one.fault for one in seen if isinstance(one, RulesRefused)] == [Fault.ALTERED]
        # Signed at last, it is in force; refused anew with other bytes, it is another entry.
        site.sign("tax")
        await until(lambda: made.rules.sets["tax"].statement.version == 2)
        site.change("tax", "20,,channel", "30,,channel")
        await until(lambda: len(recorder.acts) == written + 4)
        assert effects(recorder)[-1] == ("tax", "refused")


async def test_a_stray_folders_name_is_in_no_entry_in_clear(site):
    recorder = Written()
    async with in_force(site, recorder) as made:
        await until(lambda: usable(made))
        written = len(recorder.acts)
        (site.policies / "王芳-110101199003070019").mkdir()
        await until(lambda: len(recorder.acts) > written)
        assert recorder.acts[-1].facts["set"] == "unregistered"
        assert recorder.acts[-1].provider is None
        assert "110101199003070019" not in str(recorder.acts[-1].facts)


async def test_a_registry_that_revokes_reads_no_rule_again(site):
    recorder = Written()
    async with in_force(site, recorder) as made:
        await until(lambda: usable(made))
        before = made.rules
        site.write_registry(2, '\n[[revoked_officer]]\ndepartment = "tax"\nofficer = "wang.fang"\n')
        site.sign_registry()
        await until(lambda: made.rules is not before)
        assert made.rules.registry.revoked_officers == {("tax", "wang.fang")}
        assert made.rules.authorize is before.authorize
        assert made.rules.identify is not before.identify


async def test_the_entry_of_a_registry_names_whose_role_and_which_keys_are_new(site):
    recorder = Written()
    async with in_force(site, recorder) as made:
        await until(lambda: usable(made))
        # At the start nothing is known to have changed.
        assert not {fact for fact in recorder.acts[0].facts if fact.endswith("_added")}
        for version, (role, fact) in enumerate(
            [("audit", "persons_added"), ("operate", "persons_changed")], start=2
        ):
            before = made.rules
            site.write_registry(version)
            with site.registry.open("a", encoding="utf-8") as registry:
                registry.write(PERSON.format(role=role))
            site.sign_registry()
            await until(lambda before=before: made.rules is not before)
            entry = recorder.acts[-1]
            assert (entry.kind, entry.by) == (ActKind.REGISTRY, "administrators")
            assert entry.facts[fact] == (f"li-na={role}",)
        before = made.rules
        site.write_registry(4, "".join(map(BUREAU.format, range(60))))
        site.sign_registry()
        await until(lambda: made.rules is not before)
        facts = recorder.acts[-1].facts
        assert facts["persons_removed"] == ("li-na=operate",)
        assert len(facts["departments_added"]) == 51
        assert facts["departments_added"][-1] == "and 10 more"


async def test_a_folder_that_is_just_being_copied_is_no_refusal(site, monkeypatch):
    recorder = Written()
    monkeypatch.setattr(force, "LOOK_SECONDS", 0.2)
    async with in_force(site, recorder) as made:
        await until(lambda: usable(made))
        before = made.rules
        widen(site)
        await until(lambda: made._waiting)
        site.sign("tax")
        await until(lambda: made.rules is not before)
        assert "refused" not in dict(effects(recorder)).values()


async def test_without_its_memory_nothing_is_put_into_force_and_nothing_is_asked(site):
    recorder, seen = Written(), []
    async with in_force(site, recorder, seen) as made:
        await until(lambda: usable(made))
        before = made.rules
        site.memory().path.write_text("version = [")
        widen(site)
        site.sign("tax")
        await until(lambda: not usable(made))
        assert made.rules is before
        with pytest.raises(AuditLogUnavailable, match="not watched"):
            made.identify(None)
        assert any("versions.toml" in one.place for one in seen if isinstance(one, RulesRefused))


@pytest.mark.parametrize("named", [b"tax/\xcb\xb5\xc3\xf7.txt", b"\xff", b"tax/\xff/", b"\xff/"])
async def test_a_name_that_is_not_utf_8_holds_up_nobody_else(site, named):
    recorder, seen = Written(), []
    stray = site.policies / os.fsdecode(named)
    async with in_force(site, recorder, seen) as made:
        await until(lambda: usable(made))
        accepted = len(recorder.acts)
        if named.endswith(b"/"):
            stray.mkdir()
        else:
            stray.touch()
        await until(lambda: len(recorder.acts) > accepted)
        (act,) = recorder.acts[accepted:]
        assert act.facts["effect"] == "refused"
        msgspec.json.encode((act.facts, act.detail))
        msgspec.json.encode([(one.place, one.detail) for one in seen if hasattr(one, "place")])
        assert usable(made)
        site.change("housing", "20,,channel", "10,,channel")
        site.sign("housing")
        await until(lambda: len(recorder.acts) > accepted + 1)
        assert recorder.acts[-1].facts["effect"] == "in-force"
    with pytest.raises(Misconfigured):
        InForce(site.judge(), site.memory(), print)


async def test_issuers_are_followed_only_once_their_registry_is_in_force(site):
    followed = []
    made = InForce(site.judge(), site.memory(), print, followed.append)
    assert followed == [made.rules.registry]
    made.start(Written())
    try:
        await until(lambda: usable(made))
        site.write_registry(2, more='nonsense = "x"\n')
        site.sign_registry()
        await asyncio.sleep(0.1)
        assert len(followed) == 1
        site.write_registry(3)
        site.sign_registry()
        await until(lambda: len(followed) == 2)
        assert followed[1] is made.rules.registry
    finally:
        await made.stop()


async def test_whatever_ends_the_watch_is_said_and_nothing_is_asked_any_more(site, monkeypatch):
    """Until one can look again, and has seen what changed meanwhile."""
    seen, recorder = [], Written()

    def broken(*_):
        raise RuntimeError("张三")

    async with in_force(site, recorder, seen) as made:
        await until(lambda: usable(made))
        with monkeypatch.context() as patched:
            patched.setattr(force, "look", broken)
            await until(lambda: not usable(made))
            with pytest.raises(AuditLogUnavailable, match="not watched"):
                made.identify(None)
            widen(site)
            site.sign("tax")
        await until(lambda: usable(made))
        assert effects(recorder)[-1] == ("tax", "in-force")
    (said,) = (one for one in seen if isinstance(one, RulesRefused))
    assert (said.fault, said.place, said.detail) == (Fault.FAULTY, "watching", "RuntimeError")


async def test_what_could_not_be_judged_is_judged_again(site, monkeypatch):
    recorder, tried = Written(), []

    def broken(_self, found):
        tried.append(found["tax"].digest)
        raise MemoryError

    async with in_force(site, recorder) as made:
        await until(lambda: usable(made))
        with monkeypatch.context() as patched:
            patched.setattr(InForce, "_judged", broken)
            widen(site)
            site.sign("tax")
            await until(lambda: len(tried) > 1 and tried[-1] == tried[-2])
            assert not usable(made)
        await until(lambda: effects(recorder)[-1] == ("tax", "in-force"))
        await until(lambda: usable(made))


async def test_what_could_not_be_recorded_at_the_start_is_recorded_later(site):
    recorder = Written()
    recorder.record_act = broken_once(recorder.record_act)
    async with in_force(site, recorder) as made:
        await until(lambda: usable(made))
    assert len(recorder.acts) == len(made.rules.sets)


def broken_once(act):
    slips = [AttributeError("a driver's slip")]

    @functools.wraps(act)
    async def record_act(*arguments):
        if slips:
            raise slips.pop()
        return await act(*arguments)

    return record_act


async def test_it_does_not_start_on_what_it_may_not_serve(site):
    widen(site)
    with pytest.raises(SetRefused) as refused:
        InForce(site.judge(), site.memory(), print)
    assert refused.value.fault is Fault.ALTERED
    site.sign("tax")
    site.memory().path.write_text("version = [")
    with pytest.raises(Misconfigured, match="damaged"):
        InForce(site.judge(), site.memory(), print)


async def test_another_gateway_that_went_further_is_not_held_back(site):
    """Two on one memory: what one found while the other accepted more is not remembered."""
    recorder = Written()
    async with in_force(site, recorder) as made:
        await until(lambda: usable(made))
        before = made.rules
        recorder.down = True
        tried = recorder.tried
        widen(site)
        site.sign("tax")
        await until(lambda: recorder.tried > tried)
        ahead = site.memory().recall()["tax"]
        site.memory().remember({"tax": type(ahead)(9, "0" * 64, ahead.owners)})
        recorder.down = False
        await until(lambda: effects(recorder)[-1] == ("tax", "refused"))
        assert made.rules is before
        assert recorder.acts[-1].facts["fault"] == "older"


async def test_every_call_is_by_one_whole(site):
    """Whoever asks between two awaits gets one registry and the rules that go with it."""
    recorder, wholes = Written(), []
    async with in_force(site, recorder) as made:
        await until(lambda: usable(made))
        for version in range(2, 6):
            hold = made.rules
            site.write_registry(version)
            site.sign_registry()
            await until(lambda hold=hold: made.rules is not hold)
            wholes.append((made.rules.registry.version, made.rules.sets[REGISTRY_SET]))
    assert [version for version, _ in wholes] == [2, 3, 4, 5]
    assert all(a is not b for a, b in pairwise(wholes))
