"""The measurement of rule sets being exchanged still runs."""

from tests.load.swap import lay_out, measure


async def test_it_measures(tmp_path):
    found = await measure(lay_out(tmp_path, 200), rounds=2)
    assert len(found) == 2
    assert all(seconds > 0 and hold >= 0 for seconds, hold in found)
