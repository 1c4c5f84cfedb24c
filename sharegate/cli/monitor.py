"""``sharegate mirror`` and ``sharegate monitor``: keep copies of logs, and watch them."""

import argparse
import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.until import cut_off
from sharegate.cli.verify import load_log_key
from sharegate.consortium.mirror import Mirror
from sharegate.consortium.monitor import Monitor
from sharegate.consortium.monitor_settings import load_monitor_settings
from sharegate.consortium.remote import asking
from sharegate.errors import ShareGateError
from sharegate.metrics import Metrics
from sharegate.observe import Lifecycle, LogLines, both
from sharegate.web.admin import AdminRoutes
from sharegate.web.listening import listen

_PAUSE_SECONDS: Final = 10.0


class NotMirrored(ShareGateError):
    """There is no new copy; the old one is as it was."""


def add_to(verbs: Verbs) -> None:
    """Add the verbs."""
    verb = verbs.add_parser("mirror", help="keep a full, verified copy of somebody's log")
    verb.add_argument("url", metavar="URL", help="where the log shows its files")
    verb.add_argument("--log-key", required=True, metavar="KEY",
                      help="the log's verifier key, or a file of it")  # fmt: skip
    verb.add_argument("--out", type=Path, required=True, metavar="DIR",
                      help="where it is kept: the copy in DIR/log, and in DIR/evidence what the "
                      "log signed that does not fit it")  # fmt: skip
    verb.add_argument("--once", action="store_true", help="end when all that is shown is there")
    verb.set_defaults(run=_mirror)
    verb = verbs.add_parser("monitor", help="watch logs and their witnesses, and raise alarms")
    config_argument(verb)
    verb.add_argument("--once", action="store_true",
                      help="look once; end with 1 if anything is wrong")  # fmt: skip
    verb.set_defaults(run=_monitor)


def _mirror(chosen: argparse.Namespace) -> int:
    key = load_log_key(chosen.log_key, chosen.out)
    mirror = Mirror(chosen.out, key, chosen.url)
    asyncio.run(_pull_once(mirror) if chosen.once else cut_off(_pull_always(mirror)))
    return 0


async def _pull_once(mirror: Mirror) -> None:
    try:
        async with asking() as session:
            await mirror.pull(session)
    except OSError as error:
        raise NotMirrored(f"{mirror.key.name} {error}") from error
    published = mirror.published()
    assert published is not None
    print(f"{published.size} entries of {mirror.key.name} are in {mirror.files}, verified")


async def _pull_always(mirror: Mirror) -> None:
    """Pull until the log contradicts itself, which only a human can judge."""
    while True:
        try:
            await _pull_once(mirror)
        except NotMirrored as error:
            print(error, file=sys.stderr)
        await asyncio.sleep(_PAUSE_SECONDS)


def _monitor(chosen: argparse.Namespace) -> int:
    settings, logs = load_monitor_settings(chosen.config)
    if chosen.once:
        found = asyncio.run(Monitor(logs, lambda _: None, patience=0.0).look())
        for origin, wrong in found.items():
            for alarm, detail in wrong.items():
                print(f"ALARM  {origin}  {alarm}: {detail}")
            if not wrong:
                print(f"ok     {origin}")
        return int(any(found.values()))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("sharegate").setLevel(logging.INFO)

    async def watch() -> None:
        metrics = CollectorRegistry()
        observe = both(Metrics(metrics, gateway=False), LogLines(logging.getLogger("sharegate")))
        async with AsyncExitStack() as stack:
            if settings.admin is not None:
                admin = AdminRoutes(lambda: None, metrics)
                await listen(admin.application(), settings.admin, stack)
            observe(Lifecycle("started", f"watches {len(logs)} logs"))
            await Monitor(logs, observe).run()

    asyncio.run(cut_off(watch()))
    return 0
