"""Ask of each access request whether it may be answered, in one fixed order.

1. Is it readable? (malformed-request)
2. Is there such a provider, resource, mode, purpose? (unknown-…)
3. Is the legal basis one of the purpose's? (legal-basis-refused)
4. Are there such fields, and do the values fit them? (unknown-field, malformed-request)
5. Is the resource shared at all? (not-shared)
6. Do the rules permit it? Casbin says. (no-grant, denied-by-rule, undecidable)
7. Does the grant let out each field, and is each one asked by a key? (field-refused)
8. Is it known surely enough who asks? (assurance-too-low, undecidable)
9. Is the person concerned's consent named where it is needed? (consent-missing)
10. Does the rule leave this to an officer? (referred)

What a permit still demands from outside (`Permit.unsettled`, a ruling cited) is for `settle`.

The catalogue is open to all members, so 2 to 5 tell them nothing new, but for the names in a
resource that is listed for holders of a grant: who guesses them learns that he did. What the rules
are is told only by 6 and 7, and only about the asker's own question.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from datetime import date, datetime
from typing import NamedTuple

from sharegate.authorize.listing import Listing
from sharegate.authorize.pdp import PolicyDecisionPoint, Question
from sharegate.authorize.read import read_request
from sharegate.authorize.ruleset import RuleSet
from sharegate.model.catalogue import (
    FieldName,
    FieldType,
    MaskRule,
    Mode,
    Purpose,
    PurposeCode,
    Resource,
    ResourceId,
    SharingClass,
)
from sharegate.model.decision import Decision, Deny, Permit, Reason, Refer
from sharegate.model.grant import Assurance, Grant
from sharegate.model.party import Caller, DepartmentId, Known, Level
from sharegate.model.passage import Decided, Identified, Names
from sharegate.model.request import AccessRequest, Scalar, Unreadable

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})"
)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,37})(\.[0-9]{1,18})?")
_MODES = {mode.value: mode for mode in Mode}
MEMO_SIZE = 8_192


class _Denied(Exception):
    def __init__(self, reason: Reason, pointer: str | None, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.pointer = pointer
        self.detail = detail


class _Held(NamedTuple):
    """What was decided about one kind of question.

    Attributes:
        since: From when until when it holds, in milliseconds of Unix time.
        asked_by: The fields asked by, and what their values have to be.
    """

    decision: Decision
    since: int
    until: int
    asked_by: tuple[tuple[FieldName, Callable[[Scalar], bool]], ...]

    def holds(self, at: int, where: Mapping[FieldName, Scalar]) -> bool:
        """Whether it is what would be decided now about one with these values."""
        if not self.since <= at < self.until:
            return False
        for name, fits in self.asked_by:  # noqa: SIM110  a generator costs more than the loop
            if not fits(where[name]):
                return False
        return True


class Authorize:
    """The decision about every access request, by one rule set.

    Immutable: to put a new rule set into force, build another and swap the reference.

    Raises:
        Misconfigured: The rule set's model cannot be used or fails its self-test.
    """

    def __init__(self, rule_set: RuleSet, *, witnessed: bool = True) -> None:
        """Decide by these rules.

        Args:
            rule_set: The rules.
            witnessed: Whether the log has witnesses; without, no grant that demands them permits.
        """
        self.rule_set = rule_set
        self._witnessed = witnessed
        self._providers = frozenset(provider for provider, _ in rule_set.catalogue.resources)
        self._pdp = PolicyDecisionPoint(rule_set)
        self._listing = Listing(rule_set)
        self._names = Names(rule_set.catalogue, rule_set.departments)
        # By the kind of question (see `_kind`).
        self._memo: dict[Hashable, _Held] = {}

    def __call__(self, identified: Identified) -> Decided:
        """Decide. A denial, of an unreadable body too, is a value like a permit; nothing raises."""
        request = read_request(identified.body)
        if isinstance(request, Unreadable):
            deny = self._deny(Reason.MALFORMED, request.pointer, request.detail)
            return Decided(identified, None, deny, self._names)
        kind = _kind(identified.caller, request, request.fields, tuple(request.where))
        held = self._memo.get(kind)
        if held is not None and held.holds(identified.at, request.where):
            return Decided(identified, request, held.decision, self._names)
        try:
            decision = self._decide(identified, request)
        except _Denied as denied:
            decision = self._deny(denied.reason, denied.pointer, denied.detail)
        return Decided(identified, request, decision, self._names)

    def catalogue(self, identified: Identified) -> dict[str, object]:
        """What this officer may learn of the catalogue, as JSON would have it."""
        return self._listing(identified.caller, identified.at)

    def under(self, decided: Decided, grant: Grant) -> Decided:
        """Decide by this grant alone what the rules refused for want of one.

        Everything else that is asked of a request is asked of it all the same.
        """
        request, identified = decided.request, decided.identified
        if request is None:
            return decided
        decision: Decision
        try:
            resource, _, _ = self._asked_of(request)
            _require_known(resource, grant)
            decision = self._permit(identified.caller, resource, request, grant)
        except _Denied as denied:
            decision = self._deny(denied.reason, denied.pointer, denied.detail)
        return Decided(identified, request, decision, self._names)

    def refuse(self, identified: Identified, reason: Reason, detail: str) -> Decided:
        """Deny what is wrong with a request besides its body: its address, or its form."""
        return Decided(identified, None, self._deny(reason, None, detail), self._names)

    def _deny(self, reason: Reason, pointer: str | None, detail: str) -> Deny:
        return Deny(self.rule_set.hash, reason, None, pointer, detail)

    def _asked_of(self, request: AccessRequest) -> tuple[Resource, Mode, Purpose]:
        """What is asked for, once all that does not depend on a grant is seen to."""
        resource, mode = self._resource_and_mode(request)
        purpose = self._purpose(request)
        if request.legal_basis not in purpose.legal_bases:
            raise _Denied(
                Reason.LEGAL_BASIS, "/legal_basis", "This norm does not allow this purpose."
            )
        _require_fields(resource, request)
        if resource.sharing_class is SharingClass.NOT_SHARED:
            raise _Denied(
                Reason.NOT_SHARED,
                "/resource",
                f"This resource is not shared ({resource.not_shared_reason}).",
            )
        return resource, mode, purpose

    def _decide(self, identified: Identified, request: AccessRequest) -> Decision:
        resource, mode, purpose = self._asked_of(request)
        needed = {*request.fields, *request.where}
        caller = identified.caller
        question = Question(
            consumer=caller.consumer,
            officer=self._pdp.officer(caller.posts),
            provider=resource.provider,
            resource=resource.id,
            mode=mode,
            purpose=purpose.code,
            needs=tuple([name for name in resource.fields if name in needed]),
            named=request.grant,
        )
        ruled, since, until = self._pdp.rule(question, identified.at)
        decision: Decision
        if isinstance(ruled, Grant):
            decision = self._permit(caller, resource, request, ruled)
        elif ruled.reason is Reason.NO_GRANT and request.grant is not None:
            raise _Denied(
                Reason.NO_GRANT, "/grant", "The grant named does not permit this request."
            )
        else:
            decision = ruled
        if len(self._memo) >= MEMO_SIZE:
            self._memo.clear()
        # With the resource's own strings, however often a body spelt them out.
        own = [resource.fields[name] for name in request.where]
        kind = _kind(
            caller, request, _own(resource, request.fields), tuple([each.name for each in own])
        )
        asked_by = tuple([(each.name, _FITS[each.type]) for each in own])
        self._memo[kind] = _Held(decision, since, until, asked_by)
        return decision

    def _resource_and_mode(self, request: AccessRequest) -> tuple[Resource, Mode]:
        if request.provider not in self._providers:
            raise _Denied(Reason.UNKNOWN_PROVIDER, "/provider", "There is no such provider.")
        key = (DepartmentId(request.provider), ResourceId(request.resource))
        resource = self.rule_set.catalogue.resources.get(key)
        if resource is None:
            raise _Denied(
                Reason.UNKNOWN_RESOURCE, "/resource", "The provider lists no such resource."
            )
        mode = _MODES.get(request.mode)
        if mode is None or mode not in resource.modes:
            raise _Denied(
                Reason.UNKNOWN_MODE, "/mode", "The resource cannot be asked in this mode."
            )
        return resource, mode

    def _purpose(self, request: AccessRequest) -> Purpose:
        purpose = self.rule_set.catalogue.purposes.get(PurposeCode(request.purpose))
        if purpose is None:
            raise _Denied(
                Reason.UNKNOWN_PURPOSE, "/purpose", "The closed list has no such purpose."
            )
        return purpose

    def _permit(
        self, caller: Caller, resource: Resource, request: AccessRequest, grant: Grant
    ) -> Permit | Refer:
        for i, name in enumerate(request.fields):
            if name not in grant.fields:
                raise _Denied(
                    Reason.FIELD_REFUSED, f"/fields/{i}", "The grant does not let this field out."
                )
        for name in request.where:
            field = resource.fields[name]
            # Whoever may ask by a field learns it, whether or not it is in the answer.
            masked = field.mask is not MaskRule.NONE or name in grant.masks
            if name not in grant.fields or not field.key or masked:
                raise _Denied(
                    Reason.FIELD_REFUSED,
                    f"/where/{name}",
                    "The grant does not let this be asked by.",
                )
        self._require_assurance(caller, grant)
        if grant.consent and request.consent is None:
            raise _Denied(
                Reason.CONSENT, "/consent", "This needs the consent of the person concerned."
            )
        limits = [grant.row_limit, resource.row_limit]
        if request.limit is not None:
            limits.append(request.limit)
        permit = Permit(
            rule_set=self.rule_set.hash,
            grant=grant.id,
            resource=resource,
            fields=_own(resource, request.fields) or grant.fields,
            row_limit=min(limits),
            rows=self._only_rows(caller, grant),
            masks=grant.masks,
            quota=grant.quota,
            needs_consent=grant.consent,
            confirm_matter=grant.matter,
            cosigned=grant.assurance is Assurance.COSIGNED,
        )
        if grant.refer is None:
            return permit
        return Refer(self.rule_set.hash, permit, grant.refer, resource.questions[grant.refer])

    def _require_assurance(self, caller: Caller, grant: Grant) -> None:
        if grant.assurance is Assurance.COSIGNED and not self._witnessed:
            raise _Denied(
                Reason.UNDECIDABLE, None, "The grant demands witnesses, and this gateway has none."
            )
        if grant.assurance is not Assurance.CHANNEL and caller.known is not Known.SIGNED:
            raise _Denied(
                Reason.ASSURANCE, None, "The grant demands a request that the department signed."
            )

    def _only_rows(self, caller: Caller, grant: Grant) -> tuple[tuple[FieldName, str, bool], ...]:
        """The row terms, with the consumer's own region where they say so."""
        department = self.rule_set.departments[caller.consumer]
        only = []
        for term in grant.rows:
            if term.value is not None:
                only.append((term.field, term.value, False))
            elif department.region:
                only.append((term.field, department.region, True))
            elif department.level is not Level.NATION:
                # A region nobody registered is not everywhere.
                raise _Denied(
                    Reason.UNDECIDABLE, None, "The region of this department is not registered."
                )
        return tuple(only)


def _kind(
    caller: Caller,
    request: AccessRequest,
    fields: tuple[FieldName, ...],
    where: tuple[FieldName, ...],
) -> Hashable:
    """All that a decision depends on but the time and the values asked by."""
    return (
        caller.consumer, caller.posts, caller.known, request.provider, request.resource,
        request.mode, request.purpose, request.legal_basis, fields, where, request.limit,
        request.grant, request.consent is None,
    )  # fmt: skip


def _own(resource: Resource, names: tuple[FieldName, ...]) -> tuple[FieldName, ...]:
    return tuple([resource.fields[name].name for name in names])


def _require_known(resource: Resource, grant: Grant) -> None:
    """A grant of a file lets out what its resource has; one made of an opening may not."""
    if not resource.fields.keys() >= set(grant.fields):
        raise _Denied(
            Reason.FIELD_REFUSED, None, "What was opened names a field that the resource lacks."
        )


def _require_fields(resource: Resource, request: AccessRequest) -> None:
    for i, name in enumerate(request.fields):
        if name not in resource.fields:
            raise _Denied(Reason.UNKNOWN_FIELD, f"/fields/{i}", "The resource has no such field.")
    for name, value in request.where.items():
        field = resource.fields.get(name)
        if field is None:
            member = name.replace("~", "~0").replace("/", "~1")  # RFC 6901
            raise _Denied(
                Reason.UNKNOWN_FIELD, f"/where/{member}", "The resource has no such field."
            )
        if not _FITS[field.type](value):
            raise _Denied(
                Reason.MALFORMED, f"/where/{name}", f"This value is not of type {field.type.value}."
            )


def _is_integer(value: Scalar) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_decimal(value: Scalar) -> bool:
    return isinstance(value, str) and _DECIMAL.fullmatch(value) is not None


def _is_date(value: Scalar) -> bool:
    return isinstance(value, str) and _is_moment(date, _DATE, value)


def _is_timestamp(value: Scalar) -> bool:
    return isinstance(value, str) and _is_moment(datetime, _TIMESTAMP, value)


def _is_moment(kind: type[date], form: re.Pattern[str], value: str) -> bool:
    try:
        return form.fullmatch(value) is not None and bool(kind.fromisoformat(value))
    except ValueError:  # the 30th of February
        return False


# Whether a JSON value is one of a field's type. JSON's true is not the integer 1.
_FITS: Mapping[FieldType, Callable[[Scalar], bool]] = {
    FieldType.TEXT: lambda value: isinstance(value, str),
    FieldType.INTEGER: _is_integer,
    FieldType.DECIMAL: _is_decimal,
    FieldType.BOOLEAN: lambda value: isinstance(value, bool),
    FieldType.DATE: _is_date,
    FieldType.TIMESTAMP: _is_timestamp,
}
