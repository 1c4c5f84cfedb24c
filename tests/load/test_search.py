"""The bench of searches measures what it says: one small run of everything."""

from random import Random

from tests.load import search
from tests.load.search import KINDS, wanted


def test_every_kind_of_search_is_bounded_in_time():
    for kind in KINDS:
        chosen = wanted(kind, 1000, Random(1))
        assert 0 < chosen.until - chosen.since <= 1000 * search.EACH // 10


def test_a_small_run_prints_every_ratio(capsys):
    arguments = ["--entries", "2000", "--rounds", "1", "--seconds", "0.2", "--each", "2"]
    assert search.main(arguments) == 0
    said = capsys.readouterr().out
    for kind in KINDS:
        assert f"search p50 by {kind}, 2,000 ÷ a tenth" in said
    assert "appends with the follower at work ÷ without" in said
