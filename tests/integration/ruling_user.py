"""A process that tries to use one ruling many times: `DSN KEY RULING TIMES`.

It connects, says READY, waits for a line, and says how often it was let through.
"""

import asyncio
import os
import sys
from uuid import UUID, uuid4

from sharegate.authorize.rulings_postgres import PostgresRulings


async def main(dsn, key, ruling, times):
    store = PostgresRulings(dsn, bytes.fromhex(key), lambda _: None, random=os.urandom, seconds=60)
    assert await store.cited(UUID(ruling)) is not None
    print("READY", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    used = [await store.use(UUID(ruling), uuid4()) for _ in range(int(times))]
    print(sum(used), flush=True)
    await store.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
