"""Build what settles, from the settings, for as long as the gateway runs."""

import os
from collections.abc import AsyncIterator, Container
from contextlib import AsyncExitStack, asynccontextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.authorize.keepers import HttpKeepers, keepers
from sharegate.authorize.matters import Confirm, nobody
from sharegate.authorize.quota import counting_key, time_zone
from sharegate.authorize.quota_postgres import PostgresQuotas
from sharegate.authorize.settle import Rulings, Settle
from sharegate.model.party import DepartmentId
from sharegate.observe import Observer
from sharegate.private_keys import load_ed25519
from sharegate.settings import ConfirmSettings, Settings


def load_confirm_key(settings: ConfirmSettings) -> Ed25519PrivateKey | None:
    """Read the key that signs questions to case systems and consent registers; None where none is.

    Raises:
        Misconfigured: It is not there, or not an Ed25519 key.
    """
    path = settings.signing_key
    return None if path is None else load_ed25519(path, f"confirm.signing_key ({path})")


@asynccontextmanager
async def settling(
    settings: Settings,
    departments: Container[DepartmentId],
    rulings: Rulings,
    observe: Observer,
    *,
    dsn: str,
    seed: bytes,
    key: Ed25519PrivateKey | None,
) -> AsyncIterator[Settle]:
    """Connect to whatever is asked for facts from outside.

    Args:
        settings: What the gateway is told.
        departments: Those the registry knows.
        rulings: Lets rulings speak.
        observe: Told of what could not be settled.
        dsn: A login that appends to the audit log; counts stand beside it.
        seed: A secret that all gateways of one audit log share.
        key: Signs questions; None where nobody is asked.

    Raises:
        Misconfigured: No such time zone, or a case system of no such department.
    """
    zone = time_zone(settings.quotas.time_zone)
    case_systems = keepers(settings.case_systems, departments, "case_systems")
    registers = keepers(settings.consent_registers, departments, "consent_registers")
    async with AsyncExitStack() as stack:
        quotas = PostgresQuotas(dsn)
        await quotas.start()
        stack.push_async_callback(quotas.stop)
        confirm: Confirm = nobody
        if key is not None:
            confirm = asking = HttpKeepers(
                case_systems, registers, key, random=os.urandom, seconds=settings.confirm.seconds
            )
            stack.push_async_callback(asking.close)
        yield Settle(rulings, confirm, quotas, observe, zone=zone, key=counting_key(seed))
