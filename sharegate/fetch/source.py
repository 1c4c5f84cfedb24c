"""The port: what ShareGate needs of a provider's own database or API, and promises it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from sharegate.errors import ShareGateError
from sharegate.fetch.plan import Plan


class Trouble(StrEnum):
    """What went wrong with a source. A closed list: it labels a metric."""

    DOWN = "down"  # no connection, or it was lost
    UNSAFE_ROLE = "unsafe-role"  # our role there could write, or is not bounded in time
    REJECTED = "rejected"  # the source does not have what the catalogue says, or not for us
    UNREPRESENTABLE = "unrepresentable"  # it gave a value that has no form on the wire
    NOT_CONFIGURED = "not-configured"  # the catalogue names a source the settings do not
    BUSY = "busy"  # no connection became free in time
    SLOW = "slow"  # it did not answer in time


class SourceUnavailable(ShareGateError):
    """The source gave no answer.

    Carries no word of the source's own error, whose text may hold a row's values: neither in
    its sentence nor as its cause or context.
    """

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(f"the source gave no answer: {trouble.value}")
        self.trouble = trouble


class SourceTimeout(ShareGateError):
    """The source gave no answer in time. What is promised of SourceUnavailable holds here too."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(f"the source gave no answer in time: {trouble.value}")
        self.trouble = trouble


class Source(Protocol):
    """Where a provider's resources live.

    An adapter promises:

    - *No more than asked.* At most ``plan.row_limit`` rows, of ``plan.shape.columns`` and nothing
      else, in that order; rows whose key columns equal ``plan.values``, and no others.
    - *Values are values.* Nothing of ``plan.values`` and nothing of the exchange id ever becomes
      part of a statement, a path or a pattern; they are bound.
    - *The provider sees who asked.* The exchange id reaches the source with the question, also
      where no row matches, so that its administrator can reconcile with the audit log.
    - *It only reads*, through a role that cannot do otherwise.
    - *It ends.* A call returns or raises within the time the adapter was configured with, waiting
      for a connection included, and leaves nothing running at the source that is not bounded.
    - *Concurrency.* Any number of calls at once; those beyond the configured number of
      connections wait, first come first served. A cancelled call gives back what it held.
    - *Nobody retries*: not the adapter and not `fetch`. The consumer may ask again, in a new
      exchange. A source that comes back is used again without a restart.
    """

    async def rows(self, plan: Plan, exchange_id: UUID) -> Sequence[Sequence[object]]:
        """Ask.

        Returns:
            Rows of values in source form (:func:`sharegate.fetch.wire.carried` reads it): ``str``
            for all field types but `integer` (``int``) and `boolean` (``bool``); None for null.

        Raises:
            SourceTimeout: No answer in time; the work at the source is being stopped.
            SourceUnavailable: No answer, for the reason it names.
        """
        ...
