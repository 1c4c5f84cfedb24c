"""What the documents say is so."""

import re
from pathlib import Path
from types import NoneType, UnionType

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from sharegate.cli.main import _VERBS, main
from sharegate.errors import Unavailable
from sharegate.metrics import Metrics
from sharegate.model.decision import Reason
from sharegate.record.entry import Kind, Label
from sharegate.settings import KeeperSettings, Settings, SourceSettings
from sharegate.web import problems

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
FORMAT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not {".venv", ".demo", ".cache", ".pytest_cache"} & set(page.relative_to(ROOT).parts)
)

NAMED = {
    "sources": SourceSettings,
    "case_systems": KeeperSettings,
    "consent_registers": KeeperSettings,
}


def settings_rows(kind, prefix=""):
    for field in msgspec.structs.fields(kind):
        annotated = field.type
        described = [m.description for m in getattr(annotated, "__metadata__", ()) if m.description]
        plain = getattr(annotated, "__origin__", annotated)
        if isinstance(plain, UnionType):  # a table that may be left out
            plain = next(each for each in plain.__args__ if each is not NoneType)
        name = prefix + field.encode_name
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            yield from settings_rows(plain, f"{name}.")
        elif name in NAMED:
            yield f"{name}.NAME", described[-1]
            yield from settings_rows(NAMED[name], f"{name}.NAME.")
        else:
            yield name, described[-1]


def test_every_setting_is_documented_in_its_own_words():
    for name, description in settings_rows(Settings):
        row = rf"^\| `{re.escape(name)}` \|.*\| {re.escape(description)} \|$"
        assert re.search(row, REFERENCE, re.MULTILINE), name


def test_every_metric_is_documented_and_no_other():
    registry = CollectorRegistry()
    Metrics(registry)
    real = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
    }
    assert set(re.findall(r"^\| `(sharegate_\w+)`", REFERENCE, re.MULTILINE)) == real


def test_every_problem_is_documented_with_its_status():
    rows = set(re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (yes|no) \|", REFERENCE, re.MULTILINE))
    assert rows == {
        (kind.name, str(kind.status), "yes" if kind.recorded else "no") for kind in problems.EVERY
    }
    for reason in Unavailable:
        assert f"`{reason.value}`" in REFERENCE
    assert {kind.name for kind in problems.OF_REASON.values()} == {r.value for r in Reason}


def test_the_format_names_every_kind_and_label():
    for word in (*Kind, *(label.decode().rstrip("\0") for label in Label)):
        assert f"`{word}`" in FORMAT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_shows_commands_that_exist(capsys):
    verbs = {line.split()[1] for line in README.splitlines() if line.startswith("sharegate ")}
    for verb in verbs:
        with pytest.raises(SystemExit) as left:
            main([verb, "--help"])
        assert left.value.code == 0
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets
    assert len(_VERBS) >= len(verbs) - 1  # `serve` also brings `migrate`
    capsys.readouterr()
