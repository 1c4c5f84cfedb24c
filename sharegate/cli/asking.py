"""``sharegate serve --asking FILE``: pass this department's questions on to other gateways."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from sharegate.app import Running
from sharegate.consortium import remote
from sharegate.consortium.asking import Asking
from sharegate.consortium.asking_settings import AskingSettings
from sharegate.errors import Misconfigured
from sharegate.identify.identify import Identify
from sharegate.model.party import DepartmentId, KeyId, Registry
from sharegate.model.passage import Arrived, Identified
from sharegate.observe import Lifecycle, Observer
from sharegate.private_keys import load_ed25519
from sharegate.settings import Limits
from sharegate.web.asking import AskingRoutes
from sharegate.web.listening import listen

_FILE: Final = "--asking"


class _Identifying:
    """Proves who asks by the members in force, for tokens made for other gateways."""

    def __init__(self, gateway: Running, authority: str) -> None:
        self._gateway = gateway
        self._authority = authority
        self._registry: Registry | None = None
        self._by_audience: dict[str, Identify] = {}

    def __call__(self, arrived: Arrived, audience: str) -> Identified:
        registry = self._gateway.members()
        if registry is not self._registry:
            self._registry, self._by_audience = registry, {}
        if audience not in self._by_audience:
            self._by_audience[audience] = Identify(
                registry,
                authority=self._authority,
                audience=audience,
                published=self._gateway.published,
            )
        return self._by_audience[audience](arrived)


@asynccontextmanager
async def asking(
    settings: AskingSettings, gateway: Running, limits: Limits, observe: Observer
) -> AsyncIterator[tuple[str, int]]:
    """Listen for the department's own systems for as long as the context is open; give where.

    Raises:
        Misconfigured: A setting or the key cannot be used.
    """
    key = load_ed25519(Path(settings.signing_key), f"signing_key ({settings.signing_key})")
    registry = gateway.members()
    if DepartmentId(settings.department) not in registry.departments:
        raise Misconfigured(_FILE, f"department {settings.department!r} is not registered")
    registered = registry.keys.get(KeyId(settings.key_id))
    if registered is None or registered.public != key.public_key().public_bytes_raw():
        raise Misconfigured(_FILE, f"key_id {settings.key_id!r} is not registered with this key")
    if registered.department != settings.department:
        raise Misconfigured(_FILE, f"key_id {settings.key_id!r} is of {registered.department}")
    async with AsyncExitStack() as stack:
        identify = _Identifying(gateway, settings.authority)
        session = await stack.enter_async_context(remote.asking(settings.seconds))
        passing = Asking(settings, key, gateway.recorder, identify, os.urandom, session)
        routes = AskingRoutes(passing, limits, observe)
        address = await listen(routes.application(), settings.listen, stack)
        observe(Lifecycle("asking", f"{address[0]}:{address[1]}"))
        yield address
