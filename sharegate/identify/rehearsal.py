"""Questions nobody asked: for trying rules out on the command line. The gateway never does this."""

import json
from collections.abc import Mapping
from hashlib import sha256
from uuid import UUID

from sharegate.model.party import Caller, DepartmentId, KeyId, OfficerId
from sharegate.model.passage import Identified

_NOBODY = "rehearsal"


def rehearsed(
    consumer: str, posts: tuple[str, ...], question: Mapping[str, object], at: int
) -> Identified:
    """A question as if a department had sent it and signed it.

    Args:
        consumer: Who would ask.
        posts: The posts of its officer.
        question: The body, as JSON would have it.
        at: Milliseconds of Unix time.
    """
    body = json.dumps(question, ensure_ascii=False).encode()
    caller = Caller(DepartmentId(consumer), OfficerId(_NOBODY), KeyId(_NOBODY), _NOBODY, posts)
    return Identified(UUID(int=0), at, caller, at, b"", body, sha256(body).digest())
