"""The one family of errors.

::

    ShareGateError
    ├── LeavesTheWalk            the only two ways out of the walk other than an answer
    │   ├── Unauthenticated      401: nobody proved who asks; counted, never recorded
    │   └── AuditLogUnavailable  503: it cannot be written down, so nothing leaves
    ├── Misconfigured            a setting, the registry or a policy file is wrong; names the place
    │   └── (model.signed)       a signed set of files is not put into force; says by which rule
    ├── LogDiverged              the audit log contradicts what was signed; a human only
    ├── PostgresUnavailable      no PostgreSQL binaries, or the embedded server will not start
    ├── (fetch.source)           a source gave no answer; `fetch` turns it into a Failure
    ├── (authorize)              a fact from outside cannot be had; `settle` turns it into a Deny
    └── (cli)                    a command cannot do as asked; it says so and ends with 1

A refusal is not an error: *deny*, an unreadable request and a failed source are values
(:mod:`sharegate.model.decision`, :mod:`sharegate.model.passage`) that walk on and are recorded.
"""

from enum import StrEnum


class ShareGateError(Exception):
    """Anything ShareGate raises on purpose."""


class LeavesTheWalk(ShareGateError):
    """An access request left the walk without an answer."""


class Unproven(StrEnum):
    """Why a caller was not believed. A closed list: it labels a metric."""

    SIGNATURE_MISSING = "signature-missing"
    SIGNATURE_PROFILE = "signature-profile"
    SIGNATURE_KEY = "signature-key"
    SIGNATURE_STALE = "signature-stale"
    SIGNATURE_WRONG = "signature-wrong"
    DIGEST_WRONG = "digest-wrong"
    TOKEN_MISSING = "token-missing"  # noqa: S105  the name of a reason
    TOKEN_WRONG = "token-wrong"  # noqa: S105
    TOKEN_EXPIRED = "token-expired"  # noqa: S105
    TOKEN_FOREIGN = "token-foreign"  # noqa: S105
    OFFICER_REVOKED = "officer-revoked"
    CERTIFICATE = "certificate"


class Unauthenticated(LeavesTheWalk):
    """Nobody proved who asks.

    Attributes:
        reason: Which proof failed.
        part: The header or signature component at fault, as the caller spells it.
    """

    def __init__(self, reason: Unproven, part: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.part = part


class Unavailable(StrEnum):
    """Why nothing can be recorded now. A closed list: it labels a metric."""

    DOWN = "down"
    TIMEOUT = "timeout"
    NOT_DURABLE = "not-durable"
    READ_ONLY = "read-only"
    UNSIGNED = "unsigned"
    FROZEN = "frozen"
    UNWITNESSED = "unwitnessed"


class AuditLogUnavailable(LeavesTheWalk):
    """The exchange could not be shown to be durably recorded, so nothing leaves.

    The entry may exist all the same: a commit whose acknowledgement was lost looks like this.
    An entry therefore means "was authorised and may have been released".
    """

    def __init__(self, reason: Unavailable, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Misconfigured(ShareGateError):
    """A setting, the registry or a policy file cannot be used.

    Attributes:
        place: The file, and the line or key in it.
        detail: What is wrong there. Both can be stored and printed, whatever files are called.
    """

    def __init__(self, place: str, detail: str) -> None:
        self.place, self.detail = _legible(place), _legible(detail)
        super().__init__(f"{self.place}: {self.detail}")


def _legible(text: str) -> str:
    """Spell out the bytes of a file's name that are not UTF-8; Python has them as surrogates."""
    return text.encode(errors="backslashreplace").decode()


class LogDiverged(ShareGateError):
    """The audit log in the database contradicts what the signer has signed.

    Never retried and never repaired by the gateway: it stops signing and releasing.
    """


class PostgresUnavailable(ShareGateError):
    """There are no usable PostgreSQL binaries, or the embedded server does not start."""
