"""Ask the source, and carry away no more than the permit allows."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from uuid import UUID

from sharegate.fetch.made import Made
from sharegate.fetch.mask import mask
from sharegate.fetch.plan import may_not_ask_by, plan
from sharegate.fetch.source import Source, SourceTimeout, SourceUnavailable, Trouble
from sharegate.fetch.wire import Unrepresentable, carried
from sharegate.model.catalogue import FieldType, MaskRule, SourceName
from sharegate.model.decision import Deny, Permit, Reason, Refer
from sharegate.model.passage import (
    Decided,
    Disclosure,
    Failure,
    Fetched,
    Outcome,
    Refusal,
    Value,
)
from sharegate.model.request import AccessRequest
from sharegate.observe import Observer, SourceFailed

Leave = Callable[[object], Value]
_leaving: Made[tuple[tuple[int, Leave], ...]] = Made(2048)


class Fetch:
    """The third room. Refused requests walk through it; a source that fails is an outcome."""

    def __init__(self, sources: Mapping[SourceName, Source], observe: Observer) -> None:
        self._sources = sources
        self._observe = observe

    async def __call__(self, decided: Decided) -> Fetched:
        """Give what there is to record, and perhaps to release.

        Never raises for a source: its failure is the outcome, with nothing of its error.
        """
        decision = decided.decision
        if isinstance(decision, Deny):
            refusal = Refusal(decision.reason, decision.pointer, decision.detail)
            return Fetched(decided, refusal)
        if isinstance(decision, Refer):
            return Fetched(decided, Refusal(Reason.REFERRED, None, decision.detail))
        request = decided.request
        assert request is not None, "only a request that could be read is permitted"
        outcome = await self._ask(decision, request, decided.identified.exchange_id)
        return Fetched(decided, outcome)

    async def _ask(self, permit: Permit, request: AccessRequest, exchange_id: UUID) -> Outcome:
        pointer = may_not_ask_by(permit, request)
        if pointer is not None:
            return Refusal(Reason.FIELD_REFUSED, pointer, "This field may not be asked by.")
        planned = plan(permit, request)
        if planned is None:
            return Disclosure(permit, permit.fields, (), limit_reached=False)
        source = self._sources.get(permit.resource.source)
        if source is None:
            return self._failed(permit, Trouble.NOT_CONFIGURED)
        try:
            rows = within(permit, await source.rows(planned, exchange_id))
        except (SourceTimeout, SourceUnavailable) as failed:
            return self._failed(permit, failed.trouble)
        except Unrepresentable:
            return self._failed(permit, Trouble.UNREPRESENTABLE)
        reached = len(rows) >= permit.row_limit
        return Disclosure(permit, permit.fields, rows, limit_reached=reached)

    def _failed(self, permit: Permit, trouble: Trouble) -> Failure:
        self._observe(SourceFailed(permit.resource.source, trouble.value))
        late = trouble in {Trouble.BUSY, Trouble.SLOW}
        reason = Reason.SOURCE_TIMEOUT if late else Reason.SOURCE_UNAVAILABLE
        return Failure(reason, _SENTENCES[trouble])


_SENTENCES: Mapping[Trouble, str] = {
    Trouble.DOWN: "The provider's source cannot be reached.",
    Trouble.UNSAFE_ROLE: "The provider's source may not be used as it is set up.",
    Trouble.REJECTED: "The provider's source does not match the catalogue.",
    Trouble.UNREPRESENTABLE: "The provider's source gave a value that has no form in an answer.",
    Trouble.NOT_CONFIGURED: "The provider's source is not connected to this gateway.",
    Trouble.BUSY: "The provider's source is busy; ask again.",
    Trouble.SLOW: "The provider's source did not answer in time.",
}


def within(permit: Permit, found: Sequence[Sequence[object]]) -> tuple[tuple[Value, ...], ...]:
    """The rows as they may leave: typed, masked, and never more than the permit's limit.

    A source promises the limit; this holds it to that promise. Pure.

    Raises:
        Unrepresentable: A row is not as wide as was asked, or a value has no form on the wire.
    """
    leave = _leave(permit)
    rows: list[tuple[Value, ...]] = []
    for row in islice(found, permit.row_limit):
        if len(row) != len(leave):
            raise Unrepresentable("a row of another width")
        rows.append(
            tuple([
                None if (value := row[at]) is None else to_leave(value) for at, to_leave in leave
            ])
        )  # fmt: skip
    return tuple(rows)


def _leave(permit: Permit) -> tuple[tuple[int, Leave], ...]:
    """Where in a row each value is, and how it leaves; null stays null under every mask."""
    found = _leaving.get(id(permit))
    if found is not None:
        return found
    resource, masks = permit.resource, permit.masks
    order = sorted(permit.fields)
    fields = [resource.fields[name] for name in permit.fields]
    leave = tuple([
        (order.index(field.name), _how(field.type, masks.get(field.name, field.mask)))
        for field in fields
    ])  # fmt: skip
    return _leaving.keep(id(permit), permit, leave)


def _how(kind: FieldType, rule: MaskRule) -> Leave:
    carry, conceal = carried(kind), mask(rule)
    if rule is MaskRule.REDACT:
        return lambda _: None  # whatever it is, nothing of it leaves
    return carry if rule is MaskRule.NONE else lambda value: conceal(carry(value))
