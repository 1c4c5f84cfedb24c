"""What comes of asking another department's gateway."""

from collections.abc import Mapping

from msgspec import Struct

from sharegate.model.decision import Reason


class NotPassedOn(Struct, frozen=True, gc=False):
    """The question went nowhere, or nothing came back that may be shown.

    Attributes:
        pointer: The member of the request at fault (RFC 6901), or None.
        entry: Where this log says so, or None where the question never left.
    """

    reason: Reason
    detail: str
    pointer: str | None = None
    entry: int | None = None


class PassedOn(Struct, frozen=True, gc=False):
    """The other gateway answered, and this log says so.

    Attributes:
        headers: Of its answer, those that mean something to whoever asks.
        entry: Where this log says what came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    entry: int
