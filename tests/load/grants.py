"""A policies folder with as many grants as wanted, over the resources that are in ours."""

import shutil
import tomllib
from itertools import islice, product
from pathlib import Path

BUREAUS = 5000  # each of four classes: 20,000 role links
PURPOSES = 3
NORM = "bench-norm"
_DEPARTMENT = """
[[department]]
id = "{id}"
name_zh = "第{number}局"
name_en = "Bureau {number}"
level = "county"
region = "{region}"
"""


def bureau(number: int) -> str:
    """The id of a department that only asks."""
    return f"bureau-{number:04d}"


def purpose(number: int) -> str:
    """The code of a purpose that only these grants have."""
    return f"bench-purpose-{number:02d}"


def registered_bureaus() -> str:
    """What the registry file needs besides, so that the grants' consumers are members."""
    return "".join(
        _DEPARTMENT.format(id=bureau(n), number=n, region=f"{10 + n // 100:02d}01{1 + n % 99:02d}")
        for n in range(BUREAUS)
    )


def write_policies(ours: Path, folder: Path, grants: int) -> Path:
    """Write a folder with our grants and so many more that there are `grants` in all.

    Each of the further ones is the only one of its consumer, resource and purpose, as agreements
    between many departments are: so an index has as many keys as there are rules.

    Args:
        ours: The repository's policies.
        folder: Made.
        grants: At least as many as `ours` has.
    """
    shutil.copytree(ours, folder, ignore=shutil.ignore_patterns("README.md", "grants_test.csv"))
    with (folder / "purposes.csv").open("a", encoding="utf-8") as purposes:
        purposes.writelines(
            f"{purpose(n)},用途,Purpose {n},{NORM},《办法》\n" for n in range(PURPOSES)
        )
    tables = {path.parent.name: path for path in folder.glob("*/grants.csv")}
    written = sum(
        len(path.read_text(encoding="utf-8").splitlines()) - 1 for path in tables.values()
    )
    lines: dict[str, list[str]] = {provider: [] for provider in tables}
    numbers = product(range(BUREAUS), range(PURPOSES), _resources(folder))
    for n, (consumer, why, (provider, resource, fields, rows)) in enumerate(
        islice(numbers, grants - written)
    ):
        lines[provider].append(
            f"g{n:06d},allow,{bureau(consumer)},*,{resource},query,{purpose(why)},{fields},,,{rows},"
            ",channel,,,PIA-1,2025-08-01,2031-01-01\n"
        )
    for provider, path in tables.items():
        with path.open("a", encoding="utf-8") as table:
            table.writelines(lines[provider])
    return folder


def _resources(folder: Path) -> list[tuple[str, str, str, int]]:
    """Each resource that may be granted: provider, id, all its fields, its row limit."""
    found = []
    for path in sorted(folder.glob("*/resources.toml")):
        for listed in tomllib.loads(path.read_text(encoding="utf-8"))["resource"]:
            if listed["sharing_class"] != "not-shared":
                fields = " ".join(field["name"] for field in listed["field"])
                found.append((path.parent.name, listed["id"], fields, listed["row_limit"]))
    return found
