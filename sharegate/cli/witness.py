"""``sharegate witness``: cosign other members' checkpoints."""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import MAX_NOTE_BYTES
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.until import signalled
from sharegate.consortium.remote import NothingToBeginFrom, asking, fetched, furthest
from sharegate.consortium.witness import Witness
from sharegate.consortium.witness_memory import WitnessMemory
from sharegate.consortium.witness_settings import (
    WitnessSettings,
    load_witness_settings,
    read_logs,
)
from sharegate.errors import Misconfigured
from sharegate.metrics import Metrics
from sharegate.observe import Lifecycle, LogLines, Observer, both
from sharegate.private_keys import load_cosigner_key
from sharegate.web.admin import AdminRoutes
from sharegate.web.listening import listen
from sharegate.web.witness import WitnessRoutes

_AGAIN_SECONDS: Final = 10.0


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("witness", help="cosign other members' checkpoints")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    act = acts.add_parser("serve", help="run a witness until SIGTERM or Ctrl-C")
    config_argument(act)
    act.set_defaults(run=_serve)
    act = acts.add_parser("begin", help="begin with a log; once, or after all was lost")
    act.add_argument("origin", help="the log's name, as the settings list its key")
    config_argument(act)
    further = "a witness that knows the log: begin where the furthest of them is"
    act.add_argument(
        "--from", dest="peers", action="append", default=[], metavar="URL", help=further
    )
    act.set_defaults(run=_begin)


@asynccontextmanager
async def witnessing(settings: WitnessSettings, lines: Observer) -> AsyncIterator[tuple[str, int]]:
    """Run a witness for as long as the context is open; give where it listens.

    Raises:
        Misconfigured: A setting or a key cannot be used, or another process is this witness.
    """
    metrics = CollectorRegistry()
    observe = both(Metrics(metrics, gateway=False), lines)
    cosigners = [Cosigner(settings.name, load_cosigner_key(Path(key))) for key in settings.keys]
    logs = read_logs(settings)
    memory = WitnessMemory(Path(settings.state))
    memory.seize()
    async with AsyncExitStack() as stack:
        stack.callback(memory.release)
        witness = Witness(cosigners, logs, memory, time.time, observe)
        witness.look_back()
        unheard = await _look_abroad(witness, settings.published)
        later = asyncio.create_task(_look_later(witness, unheard))
        stack.callback(later.cancel)
        if settings.admin is not None:
            admin = AdminRoutes(lambda: None, metrics)
            await listen(admin.application(), settings.admin, stack)
        address = await listen(WitnessRoutes(witness).application(), settings.listen, stack)
        observe(Lifecycle("started", f"{address[0]}:{address[1]}"))
        yield address
        observe(Lifecycle("stopping", "draining"))
    observe(Lifecycle("stopped", ""))


async def _look_abroad(witness: Witness, urls: Sequence[str]) -> list[str]:
    """Hold what logs publish against what the witness remembers; give the URLs with no answer."""
    async with asking() as session:
        found = await asyncio.gather(
            *(fetched(session, url, MAX_NOTE_BYTES) for url in urls), return_exceptions=True
        )
    unheard = []
    for url, note in zip(urls, found, strict=True):
        if isinstance(note, bytes):
            await asyncio.to_thread(witness.look_at, note)
        else:
            unheard.append(url)
    return unheard


async def _look_later(witness: Witness, urls: Sequence[str]) -> None:
    """Ask those that gave no answer again, until each has."""
    while urls:
        await asyncio.sleep(_AGAIN_SECONDS)
        urls = await _look_abroad(witness, urls)


def _serve(chosen: argparse.Namespace) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("sharegate").setLevel(logging.INFO)
    settings = load_witness_settings(chosen.config)

    async def serve() -> None:
        stop = signalled()
        async with witnessing(settings, LogLines(logging.getLogger("sharegate"))):
            await stop.wait()

    asyncio.run(serve())
    return 0


def _begin(chosen: argparse.Namespace) -> int:
    settings = load_witness_settings(chosen.config)
    keys = [key for key in read_logs(settings) if key.name == chosen.origin]
    if not keys:
        raise Misconfigured("logs", f"has no key of {chosen.origin}")
    note, state = b"", None
    if chosen.peers:
        found = asyncio.run(furthest(chosen.peers, chosen.origin, keys))
        if found is None:
            raise NothingToBeginFrom(f"none of the peers has cosigned anything of {chosen.origin}")
        note, state = found
    memory = WitnessMemory(Path(settings.state))
    memory.seize()
    try:
        memory.begin(chosen.origin, note)
    finally:
        memory.release()
    where = "its beginning" if state is None else f"entry {state.size}, where a peer is"
    print(f"{settings.name} begins with {chosen.origin} at {where}")
    return 0
