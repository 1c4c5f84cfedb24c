"""``sharegate demo``: three departments, a log and a gateway on this machine, and a story."""

import argparse
import asyncio
import os
import time
from pathlib import Path

from sharegate.cli.demo.stage import AUDITOR, Stage, alone_in, build_stage
from sharegate.cli.demo.story import GatewayProcess, Story
from sharegate.cli.demo.town import invent_town, people_of_the_story
from sharegate.cli.options import Verbs
from sharegate.cli.until import signalled
from sharegate.errors import Misconfigured


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("demo", help="play a story with three departments on this machine")
    parser.add_argument("--once", action="store_true", help="end after the story")
    parser.add_argument("--place", type=Path, default=Path(".demo"), help="where its files go")
    parser.add_argument("--policies", type=Path, default=Path("policies"))
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    place, policies = chosen.place.resolve(), chosen.policies
    if not policies.is_dir():
        raise Misconfigured("--policies", f"there is no folder {policies}")
    with alone_in(place):
        return asyncio.run(_demo(place, policies, once=chosen.once))


async def _demo(place: Path, policies: Path, *, once: bool) -> int:
    began = time.monotonic()

    def say(line: str) -> None:
        print(line, flush=True)

    def step(line: str) -> None:
        say(f"[{time.monotonic() - began:5.1f} s] {line}")

    stop = signalled()
    stage = await build_stage(place, policies, step)
    gateway = GatewayProcess(stage, place / "gateway.log")
    try:
        step("starting four members' witnesses, and the gateway")
        await stage.consortium.start()
        await gateway.start()
        step("ready")
        people = people_of_the_story(invent_town())
        await Story(stage, people, gateway, say).tell()
        if not once:
            await gateway.start()
            say(_invitation(stage, people.applicant.id_number))
            await stop.wait()
            say("stopping")
        return 0
    finally:
        await gateway.stop()
        await stage.consortium.stop()
        await stage.server.stop()


def _invitation(stage: Stage, id_number: str) -> str:
    asker, config, key = (
        os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path
        for path in (stage.callers["civil-affairs"], stage.config, stage.keys / f"{AUDITOR}.pem")
    )
    ask = (
        f".venv/bin/sharegate call --as {asker} housing properties \\\n"
        f"      --purpose subsistence-allowance-review --matter DB-2026-000124 \\\n"
        f"      --legal-basis social-assistance-measures-2014 --where owner_id_number={id_number}"
    )
    return f"""
The gateway is up again. Ask it yourself:
  {ask}
or by curl, with a request signed for the next minute:
  eval "$({ask} --curl)"
Look at it:
  curl {stage.exchange_url}/log/checkpoint
  curl {stage.exchange_url}/openapi.json
  curl {stage.admin_url}/readyz
  curl {stage.admin_url}/metrics
Look who asked about that person, as the auditor:
  .venv/bin/sharegate audit search --config {config} \\
      --as {AUDITOR} --key {key} --matter JJ-2026-000032 \\
      --concerned {id_number}
Re-hash the whole log:
  .venv/bin/sharegate audit verify --config {config}
Ctrl-C stops everything."""
