"""The bench of cosigned answers measures what it says: one small run of everything."""

from random import Random

import pytest

from sharegate.audit.proof import verify_consistency
from sharegate.audit.tree import Frontier
from tests.load import cosigned


@pytest.mark.parametrize("size", [*range(1, 18), 255, 256, 1000])
def test_a_tree_that_grows_by_one_is_proven_from_its_frontier(size):
    random = Random(size)
    before = Frontier.empty().extend([random.randbytes(32) for _ in range(size)])
    leaf = random.randbytes(32)
    after = before.extend([leaf])
    path = cosigned._grown_by_one(before, leaf)
    verify_consistency(size, size + 1, before.root(), after.root(), path)


def test_a_small_run_prints_every_ratio(capsys):
    assert cosigned.main(["--rounds", "1", "--seconds", "0.3"]) == 0
    said = capsys.readouterr().out
    assert "cosigned answer p50, 32 callers ÷ one witness round trip" in said
    assert "added to a signed answer ÷ one witness round trip" in said
