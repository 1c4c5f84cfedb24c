"""How long a new rule set takes to be in force, and for how long it holds up the event loop.

Run with ``python -m tests.load.swap --grants 100000``. The recorder is a stand-in, so the
time is that of reading, verifying, building and exchanging.
"""

import argparse
import asyncio
import gc
import tempfile
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import uvloop

from sharegate.in_force import InForce
from sharegate.observe import RuleSetLoaded
from tests.load.grants import registered_bureaus, write_policies
from tests.site import POLICIES
from tests.unit.in_force.signed_site import SignedSite

_BEAT_SECONDS = 0.001


class _Recorder:
    """Writes nothing, at once."""

    def require_usable(self) -> None: ...

    async def record_act(self, *_: Any) -> Any:
        return SimpleNamespace()

    def adopt(self, *_: Any) -> None: ...


def lay_out(place: Path, grants: int) -> SignedSite:
    """Write and sign a registry and so many grants."""
    site = SignedSite(place)
    write_policies(POLICIES, site.policies, grants)
    site.write_registry(1)
    with site.registry.open("a", encoding="utf-8") as registry:
        registry.write(registered_bureaus())
    site.sign_all()
    return site


async def measure(site: SignedSite, rounds: int) -> list[tuple[float, float]]:
    """Change one grant `rounds` times; give seconds to build, and the longest hold of the loop."""
    seen: list[Any] = []
    in_force = InForce(site.judge(), site.memory(), seen.append)
    gc.collect()
    gc.freeze()
    in_force.start(_Recorder())  # type: ignore[arg-type]
    holds: list[float] = []

    async def beat() -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(_BEAT_SECONDS)
            holds.append(perf_counter() - began - _BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    found = []
    for number in range(rounds):
        before = in_force.rules
        old, new = f"tax-00{5 + number % 2},deny", f"tax-00{6 - number % 2},deny"
        await asyncio.to_thread(site.change, "tax", old, new)
        await asyncio.to_thread(site.sign, "tax")
        holds.clear()
        while in_force.rules is before:
            await asyncio.sleep(0.01)
        del before
        await asyncio.sleep(1)  # what was in force is freed meanwhile
        (*_, loaded) = (one for one in seen if isinstance(one, RuleSetLoaded))
        found.append((loaded.seconds, max(holds)))
    beating.cancel()
    await in_force.stop()
    return found


def main() -> None:
    """Print a line for each round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--grants", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        site = lay_out(Path(place), chosen.grants)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for seconds, hold in runner.run(measure(site, chosen.rounds)):
                print(f"in force after {seconds:.2f} s; the loop held for {hold * 1000:.0f} ms")


if __name__ == "__main__":
    main()
