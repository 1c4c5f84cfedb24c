"""The bench of cosigned answers measures what it says: one small run of everything."""

from tests.load import cosigned


def test_a_small_run_prints_every_ratio(capsys):
    assert cosigned.main(["--rounds", "1", "--asked", "64"]) == 0
    said = capsys.readouterr().out
    for where in ("here", "20 ms away"):
        assert f"witnesses {where}: cosigned p50, 32 callers ÷ round trip" in said
    assert said.count("added to a signed answer ÷ round trip") == 2
    trips = [float(line.split()[-3]) for line in said.splitlines() if "trip alone, ms" in line]
    assert trips[1] >= 20 > trips[0]  # the line takes the time it is to take
