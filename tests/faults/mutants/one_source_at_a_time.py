"""A gateway that asks one source at a time, whichever it is."""

import asyncio
import sys

from sharegate.cli.main import main
from sharegate.fetch.fetch import Fetch
from sharegate.model.passage import Decided, Fetched

turn = asyncio.Lock()
fetch = Fetch.__call__


async def in_turn(self: Fetch, decided: Decided) -> Fetched:
    async with turn:
        return await fetch(self, decided)


Fetch.__call__ = in_turn  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
