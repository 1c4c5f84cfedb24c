"""What exactly to ask a source, from a permit and the request it permits. Pure."""

from collections.abc import Iterable, Sequence
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


class Plan(Struct, frozen=True, gc=False):
    """One question to a source.

    Attributes:
        values: To be bound, in the order of ``shape.keys`` and ``shape.regions``.
        row_limit: The most rows wanted, at least 1.
    """

    shape: Shape
    values: tuple[Bound, ...]
    row_limit: int


class _Asking(NamedTuple):
    """What follows from a permit and from which fields are asked by, whatever their values.

    Attributes:
        pointer: The member of the request by which it may not be asked, or None.
        shape: None where it may not be asked so; then there are no keys either.
        keys: The fields asked by, with their types, in the order of `Shape.keys`.
        held: What is bound besides: the values the permit holds rows to.
    """

    pointer: str | None
    shape: Shape | None
    keys: tuple[tuple[FieldName, FieldType], ...]
    held: tuple[str, ...]


_askings: Made[_Asking] = Made(2048)


def may_not_ask_by(permit: Permit, request: AccessRequest) -> str | None:
    """The member of the request (RFC 6901) by which it may not be asked, or None.

    `authorize` has refused such a request already; the wall stands twice because a value one may
    not read, and yet may compare with, can be read by guessing.
    """
    return _asking(permit, request.where).pointer


def plan(permit: Permit, request: AccessRequest) -> Plan | None:
    """What to ask, or None where no row can match, as for the 30th of February.

    Args:
        permit: Whose fields and row limit bound what may leave.
        request: One by whose every key may be asked (:func:`may_not_ask_by`).
    """
    _, shape, keys, held = _asking(permit, request.where)
    assert shape is not None, "it may be asked so"
    values: list[Bound] = []
    for name, kind in keys:
        bound = bindable(kind, request.where[name])
        if bound is None:
            return None
        values.append(bound)
    return Plan(shape, (*values, *held), permit.row_limit)


def _asking(permit: Permit, where: Iterable[FieldName]) -> _Asking:
    """What was made of this permit, as the rules in force have it, or else make it."""
    names = tuple(where)
    known = (id(permit), names)
    found = _askings.get(known)
    return _askings.keep(known, permit, _made(permit, names)) if found is None else found


def _made(permit: Permit, names: tuple[FieldName, ...]) -> _Asking:
    pointer = _pointer(permit, names)
    if pointer is not None:
        return _Asking(pointer, None, (), ())
    fields = permit.resource.fields
    keys = tuple((name, fields[name].type) for name in sorted(names))
    held = [value for _, value, begins in permit.rows if not begins]
    held += [value for _, value, begins in permit.rows if begins]
    return _Asking(None, _shape(permit, [name for name, _ in keys]), keys, tuple(held))


def _pointer(permit: Permit, names: tuple[FieldName, ...]) -> str | None:
    if not names:
        return "/where"
    for name in names:
        field = permit.resource.fields.get(name)
        if field is None or not field.key or _masked(permit, field):
            return "/where/" + name.replace("~", "~0").replace("/", "~1")
    return None


def _shape(permit: Permit, keys: Sequence[FieldName]) -> Shape:
    resource = permit.resource

    def columns(names: Iterable[FieldName]) -> tuple[Column, ...]:
        found = [resource.fields[name] for name in names]
        return tuple(Column(field.column, field.type) for field in found)

    return Shape(
        resource.relation,
        columns(sorted(permit.fields)),
        columns([*keys, *(name for name, _, begins in permit.rows if not begins)]),
        columns(name for name, _, begins in permit.rows if begins),
    )


def _masked(permit: Permit, field: Field) -> bool:
    return field.mask is not MaskRule.NONE or field.name in permit.masks
