"""A gateway that takes the right to sign for its own as long as it lives."""

import sys

from sharegate.cli.main import main
from sharegate.consortium import signer
from sharegate.consortium.lease import Lease


class _Always(int):
    """A number that is never another one."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


class SleepingLease(Lease):
    """Once taken, had for good."""

    async def take(self, holder: bytes) -> bool:
        taken = await super().take(holder)
        if self.fence is not None:
            self.fence = _Always(self.fence)
        return taken

    def runs(self) -> bool:
        return self.fence is not None

    async def renew(self) -> bool:
        mine = self.fence
        await super().renew()
        self.fence = mine
        return mine is not None


signer.Lease = SleepingLease  # type: ignore[misc]

if __name__ == "__main__":
    sys.exit(main())
