"""Those with a duty besides asking: to manage, operate or audit, each apart, or to rule.

Who holds two is refused when the registry is read (GB/T 39477); here one proves to hold one.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.errors import ShareGateError
from sharegate.model.party import Person, PersonId, Registry, Role


class NotInRole(ShareGateError):
    """Nobody proved to be somebody with this duty."""


def prove(
    registry: Registry, person_id: str, key: Ed25519PrivateKey, role: Role, at: int
) -> Person:
    """Say which person this is: registered, in this role, at this time, and holding the key.

    Args:
        registry: Who is who.
        person_id: Who it is said to be.
        key: His private key.
        role: The duty that is needed; no other one will do.
        at: Milliseconds of Unix time.

    Raises:
        NotInRole: It is none.
    """
    person = registry.persons.get(PersonId(person_id))
    if person is None:
        raise NotInRole("the registry has no such person")
    if person.role is not role:
        raise NotInRole(f"has the role {person.role}; this is for the role {role}")
    if not person.not_before <= at < person.not_after:
        raise NotInRole("the person's key is not valid now")
    if key.public_key().public_bytes_raw() != person.public:
        raise NotInRole("the key is not that person's")
    return person
