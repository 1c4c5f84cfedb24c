"""The exact bytes of an answer, fixed before the entry that commits to them. Pure."""

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from sharegate.model.catalogue import FieldName
from sharegate.model.ids import text
from sharegate.model.passage import Disclosure, Fetched, Value
from sharegate.record.entry import Label, b64, commit, read_core, unb64

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class _Answer(msgspec.Struct, gc=False):
    exchange_id: str
    provider: str
    resource: str
    version: int
    grant: str
    rule_set: str
    rows: list[dict[FieldName, Value]]
    limit_reached: bool
    salt: str


def encode_answer(fetched: Fetched, disclosure: Disclosure, salt: bytes) -> bytes:
    """Write a disclosure as the JSON document that will leave.

    The salt lets whoever holds the answer open the entry's commitment to it, and nobody else.
    """
    permit = disclosure.permit
    names = disclosure.fields
    return _encode(
        _Answer(
            exchange_id=text(fetched.decided.identified.exchange_id),
            provider=permit.resource.provider,
            resource=permit.resource.id,
            version=permit.resource.version,
            grant=permit.grant,
            rule_set=permit.rule_set,
            rows=[dict(zip(names, row, strict=True)) for row in disclosure.rows],
            limit_reached=disclosure.limit_reached,
            salt=b64(salt),
        )
    )


def open_answer(answer: bytes, core_bytes: bytes) -> Mapping[str, object]:
    """Check that an entry commits to exactly these bytes; give what the entry says.

    Raises:
        ValueError: It does not, or one of the two is not what it should be.
    """
    entry = read_core(core_bytes)
    try:
        document = _decode(answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("the answer is not one of ShareGate's") from error
    salt = unb64(document.get("salt")) if isinstance(document, dict) else b""
    response = entry.get("response")
    recorded = response.get("digest") if isinstance(response, dict) else None
    if recorded != b64(commit(salt, Label.RESPONSE, sha256(answer).digest())):
        raise ValueError("the answer is not the one that was recorded")
    return entry
