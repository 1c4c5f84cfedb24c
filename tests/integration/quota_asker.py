"""One gateway process's worth of claims on one officer and one department, for a race.

Run as a process of its own: ``python -m tests.integration.quota_asker DSN N SPREAD KEY MOST …``. It
says READY, waits for a line, makes N claims at once, in turn for SPREAD of each, prints how many
were reserved, and then holds them until it is killed.
"""

import asyncio
import sys
from uuid import uuid4

from sharegate.authorize.quota import Claim, Term
from sharegate.authorize.quota_postgres import PostgresQuotas


async def main() -> None:
    dsn, count, spread, *words = sys.argv[1:]
    terms = [(key, int(most)) for key, most in zip(words[::2], words[1::2], strict=True)]
    quotas = PostgresQuotas(dsn, seconds=60)
    await quotas.reserve(Claim(uuid4(), 1, ()))  # connects
    print("READY", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    claims = [
        Claim(
            uuid4(),
            1_000_000,
            tuple(Term(spread_key(key, n % int(spread)), most, 2**52) for key, most in terms),
        )
        for n in range(int(count))
    ]
    given = await asyncio.gather(*map(quotas.reserve, claims))
    print(given.count(None), flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def spread_key(key: str, n: int) -> bytes:
    """The key of the n-th of those between whom claims go in turn; of the first, the key itself."""
    return bytes.fromhex(key)[:-1] + bytes([int(key[-2:], 16) ^ n])


if __name__ == "__main__":
    asyncio.run(main())
