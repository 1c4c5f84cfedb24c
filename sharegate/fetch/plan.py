"""What exactly to ask a source, from a permit and the request it permits. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct

from sharegate.fetch.made import Made
from sharegate.fetch.wire import Bound, bindable
from sharegate.model.catalogue import Field, FieldName, FieldType, MaskRule
from sharegate.model.decision import Permit
from sharegate.model.request import AccessRequest


class Column(NamedTuple):
    """A column at the source, and the type its values have on the wire."""

    name: str
    type: FieldType


@dataclass(frozen=True, slots=True)
class Shape:
    """All that makes one question's statement differ from another's; holds nothing of input.

    Complete in itself, so that what is cached by it cannot outlive a change of the catalogue.

    Attributes:
        columns: Of the fields that leave, sorted by the fields' names: in whatever order they are
            asked for, the statement is the same.
        keys: Asked by, for equality; sorted, so that the order of a request's members makes no
            new statement; then those that the grant holds to one value.
        regions: Text columns that must begin with a value.
    """

    relation: tuple[str, str]
    columns: tuple[Column, ...]
    keys: tuple[Column, ...]
    regions: tuple[Column, ...] = ()


_shapes: Made[Shape] = Made(512)


class Plan(Struct, frozen=True, gc=False):
    """One question to a source.

    Attributes:
        values: To be bound, in the order of ``shape.keys`` and ``shape.regions``.
        row_limit: The most rows wanted, at least 1.
    """

    shape: Shape
    values: tuple[Bound, ...]
    row_limit: int


def may_not_ask_by(permit: Permit, request: AccessRequest) -> str | None:
    """The member of the request (RFC 6901) by which it may not be asked, or None.

    `authorize` has refused such a request already; the wall stands twice because a value one may
    not read, and yet may compare with, can be read by guessing.
    """
    if not request.where:
        return "/where"
    for name in request.where:
        field = permit.resource.fields.get(name)
        if field is None or not field.key or _masked(permit, field):
            return "/where/" + name.replace("~", "~0").replace("/", "~1")
    return None


def plan(permit: Permit, request: AccessRequest) -> Plan | None:
    """What to ask, or None where no row can match, as for the 30th of February.

    Args:
        permit: Whose fields and row limit bound what may leave.
        request: One by whose every key may be asked (:func:`may_not_ask_by`).
    """
    catalogued = permit.resource.fields
    keys: list[FieldName] = sorted(request.where)
    values: list[Bound] = []
    for name in keys:
        bound = bindable(catalogued[name].type, request.where[name])
        if bound is None:
            return None
        values.append(bound)
    if permit.rows:
        values += [value for _, value, begins in permit.rows if not begins]
        values += [value for _, value, begins in permit.rows if begins]
    return Plan(_shape(permit, tuple(keys)), tuple(values), permit.row_limit)


def _shape(permit: Permit, keys: tuple[FieldName, ...]) -> Shape:
    """The shape of a question, made once of a resource as the catalogue in force has it."""
    resource = permit.resource
    terms = tuple([(name, begins) for name, _, begins in permit.rows])
    fields = tuple(sorted(permit.fields))
    known = (id(resource), fields, keys, terms)
    found = _shapes.get(known)
    if found is not None:
        return found

    def columns(names: Iterable[FieldName]) -> tuple[Column, ...]:
        found = [resource.fields[name] for name in names]
        return tuple(Column(field.column, field.type) for field in found)

    shape = Shape(
        resource.relation,
        columns(fields),
        columns([*keys, *(name for name, begins in terms if not begins)]),
        columns(name for name, begins in terms if begins),
    )
    return _shapes.keep(known, resource, shape)


def _masked(permit: Permit, field: Field) -> bool:
    return field.mask is not MaskRule.NONE or field.name in permit.masks
