"""A gateway that releases an answer first and records it a moment later."""

import asyncio
import sys

from sharegate.cli.main import main
from sharegate.consortium.coverage import _OnePath
from sharegate.model.passage import Covered, Fetched, Recorded
from sharegate.record.recorder import Recorder

LATER_SECONDS = 0.05
recording: set[asyncio.Task[object]] = set()


async def record(self: Recorder, fetched: Fetched) -> Recorded:
    identified = fetched.decided.identified
    draft, answer = self._draft(fetched, identified.replay_key, identified.signed_at)

    async def later() -> None:
        await asyncio.sleep(LATER_SECONDS)
        await self._audit_log.append(draft)

    task = asyncio.create_task(later())
    recording.add(task)
    task.add_done_callback(recording.discard)
    covered = Covered(0, b"-", b"none\n", _OnePath(()))
    return Recorded(identified.exchange_id, fetched.outcome, answer, covered)


Recorder.record = record  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
