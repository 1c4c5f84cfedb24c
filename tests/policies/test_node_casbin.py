"""The decision point answers what npm ``casbin`` answers: another implementation, other authors.

The stock Casbin of `test_decision_point` shares its parser and its effects with ours. This one
shares only the text of model.conf. It is handed every valid rule and every link of the roles, and
knows nothing of our index, our classes, our closed posts or what is remembered.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from sharegate.authorize.pdp import PolicyDecisionPoint, Question
from sharegate.authorize.posts import MAX_CHAIN, POSTS_HEADER, read_posts
from sharegate.authorize.rows import rows
from sharegate.authorize.ruleset import RuleSet
from sharegate.model.catalogue import Catalogue
from sharegate.model.decision import Deny, Reason
from sharegate.model.grant import Effect, Grant
from tests.unit.authorize.policy_folder import MODEL
from tests.unit.authorize.test_decision_point import (
    CLASSES,
    DEPARTMENTS,
    TIMES,
    some_grant,
    some_question,
)

PACKAGE = "casbin@5.51.1"
CACHE = Path(__file__).parents[2] / ".cache" / "node-casbin"
SCRIPT = Path(__file__).with_name("node_casbin.js")
RULE_SETS, QUESTIONS = 700, 20

Links = list[tuple[str, str]]


class Case(NamedTuple):
    """One decision of ours, and what decided it."""

    grants: Sequence[Grant]
    asked: Question
    at: int
    ours: Grant | Deny

    def rules(self) -> list[list[str]]:
        """Every rule that is valid and (where one is named) may apply, as Casbin reads them."""
        return [
            list(rule)
            for each in self.grants
            for rule in rows(each)
            if each.valid_from <= self.at < each.valid_until
            and (each.effect is Effect.DENY or self.asked.named in (None, each.id))
        ]


def install() -> None:
    """Install the package once; without node and npm, say aloud what was skipped."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("node and npm are needed here")
        pytest.skip("SKIPPED ALOUD: no node and npm, so no second Casbin checked the decisions")
    held = CACHE / "node_modules" / "casbin" / "package.json"
    name, _, version = PACKAGE.partition("@")
    if not held.exists() or json.loads(held.read_text(encoding="utf-8"))["version"] != version:
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_text('{"private": true}', encoding="utf-8")
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact"]
        subprocess.run([*command, f"{name}@{version}"], cwd=CACHE, check=True, capture_output=True)
    shutil.copy(SCRIPT, CACHE / SCRIPT.name)


def posts_of(rng: random.Random) -> tuple[Links, Mapping[str, frozenset[str]]]:
    """Draw which post includes which: a chain as long as may be, and branches beside it."""
    chain = [f"post{n}" for n in range(rng.randint(2, MAX_CHAIN + 1))]
    links = list(pairwise(chain))
    for n in range(rng.randint(0, 3)):
        above = rng.randrange(len(chain) - 1)
        links += [(chain[above], f"side{n}")] + [(f"side{n}", chain[-1])] * (above < len(chain) - 2)
    includes: dict[str, list[str]] = {post: [] for link in links for post in link}
    for above_post, below in links:
        includes[above_post].append(below)
    lines = [",".join(POSTS_HEADER)]
    lines += [f"{post},岗位,Post,{' '.join(below)}" for post, below in includes.items()]
    return links, read_posts("posts.csv", "".join(f"{line}\n" for line in lines).encode())


def renamed(post: str, posts: Sequence[str]) -> str:
    """Give a post of the generator another name: one of these, always the same."""
    return post if post == "*" else posts[sum(post.encode()) % len(posts)]


def cases_of(rng: random.Random, posts: Mapping[str, frozenset[str]]) -> list[Case]:
    """Draw a rule set and questions near its rules, and let our decision point decide them."""
    order = rng.sample(sorted(posts), len(posts))
    grants = []
    for n in range(rng.randint(1, 7)):
        drawn = some_grant(rng, n)
        named = {renamed(post, order) for post in drawn.posts}
        grants.append(replace(drawn, posts=tuple(sorted(named))))
    point = PolicyDecisionPoint(
        RuleSet("00" * 32, MODEL, Catalogue({}, {}), DEPARTMENTS, posts, grants)
    )
    cases = []
    for _ in range(QUESTIONS):
        drawn_question = some_question(rng, grants)
        near = {post for each in grants for post in each.posts if post != "*"}
        held = {post for post in posts if rng.random() < 0.15}
        held |= {post for post in posts if near & posts[post] and rng.random() < 0.5}
        asked = drawn_question._replace(officer=point.officer(held))
        at = rng.choice(TIMES)
        cases.append(Case(grants, asked, at, point.decide(asked, at)))
    return cases


def asked_of_node(worlds: Sequence[tuple[Links, Sequence[Case]]]) -> list[tuple[bool, list[str]]]:
    """Have the other implementation decide all cases."""
    lines = []
    for links, cases in worlds:
        officers = {case.asked.officer for case in cases}
        holds = {(each, post) for each in officers for post in each.split() if each != post}
        g: Links = [(name, each) for name, classes in CLASSES.items() for each in classes]
        roles = {"g": g, "g2": [*links, *sorted(holds)]}
        told = [{"rules": case.rules(), "request": list(case.asked[:6])} for case in cases]
        lines.append(json.dumps({"model": MODEL, "roles": roles, "cases": told}) + "\n")
    done = subprocess.run(
        ["node", SCRIPT.name],
        cwd=CACHE,
        input="".join(lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [(bool(permitted), rule) for line in done.stdout.splitlines()
            for permitted, rule in json.loads(line)]  # fmt: skip


def test_every_decision_is_that_of_the_javascript_casbin(capsys: pytest.CaptureFixture[str]):
    install()
    rng = random.Random(5511)
    worlds = []
    for _ in range(RULE_SETS):
        links, posts = posts_of(rng)
        worlds.append((links, cases_of(rng, posts)))
    cases = [case for _, each in worlds for case in each]
    theirs = asked_of_node(worlds)
    assert len(theirs) == len(cases)
    counts: Counter[str] = Counter()
    for case, (permitted, explained) in zip(cases, theirs, strict=True):
        if case.asked.consumer not in CLASSES:  # in a rule `*` is every member, not every name
            assert isinstance(case.ours, Deny), case
            counts["stranger"] += 1
            continue
        assert isinstance(case.ours, Grant) == permitted, (case, explained)
        counts[_kind(case)] += 1
        if isinstance(case.ours, Grant):
            assert case.ours.effect is Effect.ALLOW
            counts["by a wildcard"] += "*" in (case.ours.consumer, *case.ours.purposes)
            counts["by a class"] += case.ours.consumer not in (case.asked.consumer, "*")
            counts["by a post"] += "*" not in case.ours.posts
            held = set(case.asked.officer.split())
            counts["by a chain"] += "*" not in case.ours.posts and not held & set(case.ours.posts)
        elif case.ours.reason is Reason.DENIED:
            assert explained[0] == case.ours.rule, (case, explained)
        else:
            assert explained == [], (case, explained)
    with capsys.disabled():
        sys.stdout.write(f"\n{len(cases)} decisions, as npm {PACKAGE} decides: {dict(counts)}\n")
    assert len(cases) >= 10_000
    assert min(counts["permit"], counts["deny"], counts["none"]) > len(cases) / 8
    assert counts["stranger"] > len(cases) / 100
    for way in ("by a wildcard", "by a class", "by a post", "by a chain"):
        assert counts[way] > len(cases) / 60, way


def _kind(case: Case) -> str:
    if isinstance(case.ours, Grant):
        return "permit"
    return {Reason.DENIED: "deny", Reason.NO_GRANT: "none"}[case.ours.reason]


def test_it_is_the_pinned_version_of_the_other_casbin_that_was_asked():
    install()
    held = json.loads((CACHE / "node_modules" / "casbin" / "package.json").read_bytes())
    assert f"{held['name']}@{held['version']}" == PACKAGE
