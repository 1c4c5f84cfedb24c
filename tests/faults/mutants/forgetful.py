"""A gateway that takes every copy of a signed request for a new one."""

import os
import sys

from sharegate.cli.main import main
from sharegate.model.passage import Fetched
from sharegate.record.audit_log import Draft
from sharegate.record.recorder import Recorder

draft = Recorder._draft


def with_a_new_key(
    self: Recorder, fetched: Fetched, replay_key: bytes, signed_at: int
) -> tuple[Draft, bytes | None]:
    return draft(self, fetched, os.urandom(len(replay_key)), signed_at)


Recorder._draft = with_a_new_key  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
