"""What of an entry can be searched: the rows of the projection, made from a leaf. Pure.

Only names, codes and numbers that stand in the core in clear, and the tokens of the blind index
beside it. The projection is no evidence: whoever needs that shows the entry itself.
"""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from sharegate.audit.chain import core_of
from sharegate.record.blind import TOKEN_BYTES, Token

UNREADABLE: Final = "unreadable"
_BEYOND_INTEGERS: Final = 2**53
_STRIDE: Final = TOKEN_BYTES + 1
_TAG: Final = {kind: kind.value[0] for kind in Token}

_Name = Annotated[str, Meta(pattern=r"^[^\x00]*\Z")]  # PostgreSQL has no text with a NUL
_Moment = Annotated[int, Meta(ge=0, lt=_BEYOND_INTEGERS)]


class SearchRow(Struct, frozen=True, gc=False):
    """One entry as it is searched; the columns of ``sharegate.search_entry``, in their order.

    Attributes:
        time: Milliseconds of Unix time, by the gateway's clock.
        by: Who did it, where it is an act and no exchange.
        officer, matter: Tokens of the blind index, 16 bytes.
        rule: The grant that permitted or denied.
    """

    seq: int
    time: int
    kind: str
    by: str | None = None
    consumer: str | None = None
    officer: bytes | None = None
    matter: bytes | None = None
    provider: str | None = None
    resource: str | None = None
    mode: str | None = None
    purpose: str | None = None
    effect: str | None = None
    reason: str | None = None
    rule: str | None = None


class _Caller(Struct, frozen=True, gc=False):
    consumer: _Name


class _Resource(Struct, frozen=True, gc=False):
    id: _Name


class _Purpose(Struct, frozen=True, gc=False):
    code: _Name | None = None


class _Decision(Struct, frozen=True, gc=False):
    effect: _Name | None = None
    reason: _Name | None = None
    rule: _Name | None = None


class _Core(Struct, frozen=True, gc=False):
    """As much of a core as is searched, of any kind; the rest is passed over."""

    time: _Moment
    kind: _Name
    by: _Name | None = None
    caller: _Caller | None = None
    provider: _Name | None = None
    resource: _Resource | None = None
    mode: _Name | None = None
    purpose: _Purpose = _Purpose()
    decision: _Decision = _Decision()


_read: Final[Callable[[bytes], _Core]] = msgspec.json.Decoder(_Core).decode


def search_row(seq: int, leaf: bytes, blind: bytes | None) -> SearchRow:
    """Make an entry's row; one that cannot be read is found by its kind, ``unreadable``.

    Args:
        seq: Its place in the log.
        leaf: Its exact bytes, known to be a leaf.
        blind: The tokens beside it, if any.
    """
    try:
        said = _read(core_of(leaf))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # It must not keep all that come after it from being found.
        return SearchRow(seq, 0, UNREADABLE)
    return SearchRow(
        seq=seq,
        time=said.time,
        kind=said.kind,
        by=said.by,
        consumer=said.caller.consumer if said.caller else None,
        officer=next(iter(tokens(blind, Token.OFFICER)), None),
        matter=next(iter(tokens(blind, Token.MATTER)), None),
        provider=said.provider,
        resource=said.resource.id if said.resource else None,
        mode=said.mode,
        purpose=said.purpose.code,
        effect=said.decision.effect,
        reason=said.decision.reason,
        rule=said.decision.rule,
    )


def tokens(blind: bytes | None, kind: Token) -> list[bytes]:
    """The tokens of one kind, 16 bytes each; what is not whole is no token."""
    if blind is None:
        return []
    tag = _TAG[kind]
    return [
        blind[at + 1 : at + _STRIDE]
        for at in range(0, len(blind) - TOKEN_BYTES, _STRIDE)
        if blind[at : at + 1] == tag
    ]
