"""The blind index: what lets an auditor find entries by person, officer or matter. Pure.

A leaf holds only salted commitments, which nobody can search. Beside the entry, never in it, stand
tokens: HMAC-SHA-256 under the audit office's index key, cut to 16 bytes. Without the key they say
no more than that two entries are about the same; erasing them leaves every proof valid.
"""

from collections.abc import Callable
from enum import Enum

from sharegate.model.catalogue import FieldName, MaskRule, Resource, ResourceId
from sharegate.model.party import DepartmentId
from sharegate.model.passage import Disclosure, Fetched, Identified
from sharegate.model.request import AccessRequest
from sharegate.record.entry import Label, commit

TOKEN_BYTES = 16
INDEX_KEY_BYTES = 32


class Token(Enum):
    """What a token is of: the byte before it, and the label that is hashed with it."""

    PERSON = (b"p", Label.PERSON)
    OFFICER = (b"o", Label.OFFICER)
    MATTER = (b"m", Label.MATTER)


def token(key: bytes, kind: Token, value: str) -> bytes:
    """Make the token of one value: the kind's byte and 16 bytes.

    An officer's value is ``consumer NUL officer``: two departments may use one id for two people.
    """
    tag, label = kind.value
    return tag + commit(key, label, value.encode())[:TOKEN_BYTES]


def officer_value(consumer: str, officer: str) -> str:
    """What an officer's token is made of."""
    return f"{consumer}\0{officer}"


def blind_index(key: bytes) -> Callable[[Fetched], bytes]:
    """Make what gives an entry's tokens, one after the other.

    Args:
        key: The audit office's index key, 32 bytes.
    """

    def tokens(fetched: Fetched) -> bytes:
        identified, request = fetched.decided.identified, fetched.decided.request
        found = [_officer(key, identified)]
        if request is not None:
            found.append(token(key, Token.MATTER, request.matter))
            asked = (DepartmentId(request.provider), ResourceId(request.resource))
            resource = fetched.decided.names.catalogue.resources.get(asked)
            if resource is not None:
                people = _people(fetched, request, resource)
                found += [token(key, Token.PERSON, person) for person in sorted(people)]
        return b"".join(found)

    return tokens


def _officer(key: bytes, identified: Identified) -> bytes:
    caller = identified.caller
    return token(key, Token.OFFICER, officer_value(caller.consumer, caller.officer))


def _people(fetched: Fetched, request: AccessRequest, resource: Resource) -> set[str]:
    """Whom the exchange is about: asked by, or disclosed unmasked."""
    names = {name for name, field in resource.fields.items() if field.person}
    people = {str(value) for name, value in request.where.items() if name in names}
    outcome = fetched.outcome
    if isinstance(outcome, Disclosure):
        places = [at for at, name in enumerate(outcome.fields) if _shown(name, names, outcome)]
        people |= {str(row[at]) for row in outcome.rows for at in places if row[at] is not None}
    return people


def _shown(name: FieldName, names: set[FieldName], outcome: Disclosure) -> bool:
    permit = outcome.permit
    unmasked = permit.resource.fields[name].mask is MaskRule.NONE and name not in permit.masks
    return name in names and unmasked
