"""One question, as the consumer asked it."""

from collections.abc import Mapping

from msgspec import Struct

from sharegate.model.catalogue import FieldName

Scalar = str | int | bool


class AccessRequest(Struct, frozen=True, gc=False):
    """One question: well-formed, not yet allowed.

    Names are as the consumer spelt them; whether anything of that name exists is for
    `authorize` to say.

    Attributes:
        fields: What is asked for; empty means all that the grant lets out.
        where: What it asks by: equality on key fields; never empty.
        limit: The most rows wanted, or None for as many as permitted.
        grant: The grant the consumer names, or None.
        ruling: The ruling it cites, or None.
        consent: Its reference to the consent of the person concerned, or None.
        consumer_entry: The leaf hash, 32 bytes, of the consumer's own entry about this request, or
            None where it says of none.
    """

    provider: str
    resource: str
    mode: str
    purpose: str
    legal_basis: str
    matter: str
    fields: tuple[FieldName, ...]
    where: Mapping[FieldName, Scalar]
    limit: int | None
    grant: str | None
    ruling: str | None = None
    consent: str | None = None
    consumer_entry: bytes | None = None


class Unreadable(Struct, frozen=True, gc=False):
    """A body that is not an access request.

    Attributes:
        pointer: Where (RFC 6901), or None where it is the body as a whole.
    """

    pointer: str | None
    detail: str
