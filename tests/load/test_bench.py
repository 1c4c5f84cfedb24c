"""The bench measures what it says: its arithmetic, and one small run of everything."""

import math
from dataclasses import replace

import pytest

from tests.load import bench, grants
from tests.load.bench import GOALS, SMOKE, Samples
from tests.load.figures import Goal, number, percentile, ratios, row, spread
from tests.load.stand import ARMS
from tests.site import POLICIES


def test_a_spread_is_the_middle_and_both_ends():
    seen = spread([3.0, 1.0, 2.0, 10.0])
    assert (seen.median, seen.low, seen.high, seen.samples) == (2.5, 1.0, 10.0, 4)


def test_ratios_pair_samples_of_the_same_round():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.0])
def test_a_percentile_is_the_smallest_value_that_enough_others_do_not_exceed(count, share):
    values = [float((n * 7919) % count) for n in range(count)]  # each of 0 … count-1 once, mixed
    enough = math.ceil(round(share * count, 9))
    assert percentile(values, share) == sorted(values)[max(enough, 1) - 1]


@pytest.mark.parametrize(
    ("value", "more", "less"),
    [(1.0, "missed", "moonshot"), (2.0, "good", "good"), (3.0, "moonshot", "missed")],
)
def test_a_goal_is_reached_from_its_own_side(value, more, less):
    assert Goal(2.0, 3.0, more=True).reached(value) == more
    assert Goal(2.0, 1.0, more=False).reached(value) == less


def test_a_line_shows_middle_ends_goals_and_verdict():
    line = row("full ÷ bare", spread([0.4, 0.5, 0.6]), Goal(0.5, 0.75, more=True))
    assert " ".join(line.split()) == "full ÷ bare 0.5 0.4 – 0.6 ≥ 0.5 ≥ 0.75 good"
    assert [number(value) for value in (0.12345, 99.94, 15234.4)] == ["0.123", "99.9", "15,234"]


def test_added_time_is_of_one_round_and_counted_in_commits():
    samples = Samples()
    for name in ARMS:
        samples.add(name, rps=1.0, p99=1.0, alone=1.0, megabytes=1.0)
    samples.add("commit", p50=0.5)
    samples.add("claim", p50=2.0)
    samples.add("swap", seconds=1.0, held=1.0)
    samples.add("decision", many=1.0, few=1.0, stock=1.0)
    samples.add("appends", grouped=1.0, pooled=1.0)
    samples.add("held", append=1.0, added=1.0)
    samples.add("verify", seconds=1.0, once=1.0)
    samples.add("files", seconds=1.0, once=1.0)
    samples.of["channel", "alone"] = [2.5]
    samples.of["channel", "rps"] = [3.0]
    said = samples.ratios()
    assert said["added p50 at 1 caller ÷ one durable single-row commit"] == [3.0]
    assert said["claim of two quotas at 1 caller ÷ one such commit"] == [4.0]
    assert said["full ÷ plain bare"] == [3.0]
    assert said["full, signature on every request ÷ plain bare"] == [1.0]


def test_one_small_run_of_everything(capsys, monkeypatch):
    """Every arm answers 200 with the row asked for, and each goal gets a number."""
    monkeypatch.setattr(bench, "LONG", replace(SMOKE, searched=2_000))
    monkeypatch.setattr(bench.search, "measure", lambda plan: [f"searched {plan.entries}"])
    assert bench.main(["--long"]) == 0
    printed = capsys.readouterr().out
    assert "searched 2000" in printed
    for name in GOALS:
        assert name in printed


def test_as_many_grants_as_wanted_each_with_a_key_of_its_own(tmp_path):
    folder = grants.write_policies(POLICIES, tmp_path / "policies", 1000)
    lines = [
        (path.parent.name, line.split(",")[2], *line.split(",")[4:7])
        for path in folder.glob("*/grants.csv")
        for line in path.read_text(encoding="utf-8").splitlines()[1:]
    ]
    assert len(lines) == len(set(lines)) == 1000
