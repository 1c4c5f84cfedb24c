"""Software that nobody here wrote reads a log we wrote, and one that somebody tampered with.

``make strangers``. Five authors, four languages: Go's ``sumdb`` (Debian), npm
``@transmute/rfc9162`` and ``@sigstore/verify``, PyPI ``metamorphic-log`` (Rust) and ``aics-tlog``
(Python 3.12 or newer). Each is fetched by its own package manager into `.cache`, installs nothing,
and knows nothing of ShareGate but its files and the log's key.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.tiles import encode_bundle, parse_bundle, parse_path
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.consortium.sealer import Sealer
from sharegate.record.reader import PostgresReader
from tests.integration.searchable import KEY, invented, searchable

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "strangers"
GO_PACKAGES = ("golang-1.19-go", "golang-1.19-src", "golang-golang-x-mod-dev")
TRANSMUTE = "@transmute/rfc9162@0.0.5"
SIGSTORE = "@sigstore/verify"
SIZE = 700


def run(*command, cwd=None, env=None):
    return subprocess.run(
        [str(each) for each in command], cwd=cwd, env=env, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def lacking(what):
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and nothing may be left out here")
    pytest.skip(f"SKIPPED ALOUD: {what}")


def go():
    """Debian's Go and its sumdb, unpacked and never installed; the checker, compiled."""
    place = CACHE / "go"
    if not (place / "check").exists():
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            lacking("Debian's Go is fetched by apt, as root")
        place.mkdir(parents=True, exist_ok=True)
        run("apt-get", "update", "-q")
        fetched = run("apt-get", "download", "-q", *GO_PACKAGES, cwd=place)
        if fetched.returncode:
            lacking(f"no Go: {fetched.stderr[-300:]}")
        for package in place.glob("*.deb"):
            assert run("dpkg-deb", "-x", package, place / "unpacked").returncode == 0
            package.unlink()
        shutil.copy(HERE / "check.go", place)
        root = place / "unpacked" / "usr"
        env = {
            "PATH": os.environ["PATH"], "HOME": str(place), "GO111MODULE": "off",
            "GOROOT": str(root / "lib" / "go-1.19"), "GOPATH": str(root / "share" / "gocode"),
            "GOCACHE": str(place / "cache"),
        }  # fmt: skip
        built = run(root / "lib/go-1.19/bin/go", "build", "-o", "check", "check.go",
                    cwd=place, env=env)  # fmt: skip
        assert built.returncode == 0, built.stderr
    return lambda files, key: run(place / "check", files, key)


def of_npm(package, name, checker):
    """A package of npm, and the checker that uses it."""
    place = CACHE / name
    if shutil.which("npm") is None:
        lacking("npm is needed")
    if not (place / "node_modules").exists():
        place.mkdir(parents=True, exist_ok=True)
        done = run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", package,
                   cwd=place)  # fmt: skip
        assert done.returncode == 0, done.stderr
    return lambda files, key: run("node", HERE / checker, files, key, cwd=place)


def of_pypi(package, checker, interpreter):
    """A package of PyPI in an environment of its own, and the checker that uses it."""
    place = CACHE / package
    python = place / "bin" / "python"
    if not (place / "made").exists():
        shutil.rmtree(place, ignore_errors=True)
        assert run(interpreter, "-m", "venv", place).returncode == 0
        done = run(python, "-m", "pip", "install", "-q", package)
        if done.returncode:
            lacking(f"no {package}: {done.stderr[-300:]}")
        (place / "made").touch()
    return lambda files, key: run(python, HERE / checker, files, key)


def newer_python():
    """An interpreter that aics-tlog runs on; this one, or one that lies about."""
    if sys.version_info >= (3, 12):
        return sys.executable
    about = [shutil.which(f"python3.{minor}") for minor in range(12, 20)]
    about += sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"))
    for each in filter(None, about):
        if run(each, "-c", "import sys; sys.exit(sys.version_info < (3, 12))").returncode == 0:
            return each
    return lacking("aics-tlog needs Python 3.12, and there is none")


def ours():
    return lambda files, key: run(
        sys.executable, "-m", "sharegate", "audit", "verify", files, "--log-key", key
    )


STRANGERS = {
    "go sumdb": go,
    "npm @transmute/rfc9162": lambda: of_npm(TRANSMUTE, "transmute", "check.mjs"),
    "npm @sigstore/verify": lambda: of_npm(SIGSTORE, "sigstore", "check_sigstore.mjs"),
    "metamorphic-log": lambda: of_pypi("metamorphic-log", "check_metamorphic.py", sys.executable),
    "aics-tlog": lambda: of_pypi("aics-tlog", "check_aics.py", newer_python()),
}


@pytest.fixture(scope="module")
def strangers():
    return {name: made() for name, made in {**STRANGERS, "ourselves": ours}.items()}


@pytest.fixture
async def published(database, tmp_path):
    """A log of 700 entries as `sharegate seal` writes it."""
    made = await searchable(database)
    await made.append(*(invented(random.Random(n), n) for n in range(SIZE)))
    hashes = [leaf_hash(leaf) for leaf in await made.database.leaves()]
    reader = PostgresReader(made.database.read)
    place = tmp_path / "log"
    place.mkdir()
    try:
        for size in (1, 256, 300, SIZE):
            root = Frontier.empty().extend(hashes[:size]).root()
            note = sign(Checkpoint(KEY.name, size, root), KEY)
            await Sealer(place, VerifierKey.parse(KEY.vkey), reader).seal(note)
            shutil.copytree(place, tmp_path / f"log-{size}")
    finally:
        await reader.close()
    return tmp_path


def test_all_agree_on_a_log_of_any_size(published, strangers, capsys):
    for size in (1, 256, 300, SIZE):
        for name, check in strangers.items():
            said = check(published / f"log-{size}", KEY.vkey)
            assert said.returncode == 0, (name, said.stdout, said.stderr)
            assert str(size) in said.stdout
            with capsys.disabled():
                sys.stdout.write(f"\n{name:24} {size:>4} entries: agrees")


def flipped(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def rebundled(file, change):
    tile = parse_path("tile/" + str(file).partition("/tile/")[2])
    entries = list(parse_bundle(tile, file.read_bytes()))
    change(entries)
    file.write_bytes(encode_bundle(entries))


def another_checkpoint(log_files, **changes):
    size = changes.get("size", SIZE)
    key = changes.get("key", KEY)
    state = Checkpoint(KEY.name, size, changes.get("root", bytes(32)))
    (log_files / "checkpoint").write_bytes(sign(state, key))


def swap(entries):
    entries[3], entries[4] = entries[4], entries[3]


TAMPERED = {
    "one bit of an entry": lambda p: flipped(p / "tile/entries/001", 5000),
    "one bit of the last entry": lambda p: flipped(p / "tile/entries/002.p/188", -1),
    "one entry less": lambda p: rebundled(p / "tile/entries/001", lambda e: e.pop(7)),
    "one entry more": lambda p: rebundled(p / "tile/entries/001", lambda e: e.insert(7, e[0])),
    "two entries swapped": lambda p: rebundled(p / "tile/entries/000", swap),
    "an entry emptied": lambda p: rebundled(
        p / "tile/entries/000", lambda e: e.__setitem__(0, b"")
    ),
    "another root, signed": another_checkpoint,
    "a larger size, signed": lambda p: another_checkpoint(p, size=SIZE + 1),
    "signed by another key": lambda p: another_checkpoint(
        p, key=SignerKey(KEY.name, Ed25519PrivateKey.from_private_bytes(b"x" * 32))
    ),
    "one bit of the checkpoint": lambda p: flipped(p / "checkpoint", 60),
    "a bundle is gone": lambda p: (p / "tile/entries/001").unlink(),
}


@pytest.mark.parametrize("tampering", TAMPERED)
def test_none_agrees_on_a_log_that_was_tampered_with(published, strangers, tampering, capsys):
    place = published / "log"
    TAMPERED[tampering](place)
    for name, check in strangers.items():
        said = check(place, KEY.vkey)
        assert said.returncode == 1 or "DISAGREE" in said.stdout, (name, said.stdout, said.stderr)
        assert "AGREE 700" not in said.stdout.replace("DISAGREE", "")
    with capsys.disabled():
        sys.stdout.write(f"\n{tampering:28} refused by all {len(strangers)}")


def test_a_tile_that_is_not_of_its_entries_is_refused(published, strangers):
    """Only those who read tiles."""
    flipped(published / "log" / "tile/0/001", 100)
    for name in ("go sumdb", "aics-tlog", "ourselves"):
        assert strangers[name](published / "log", KEY.vkey).returncode == 1


def test_nothing_of_ours_is_asked():
    for checker in ("check.go", "check.mjs", "check_metamorphic.py"):
        assert "sharegate" not in (HERE / checker).read_text().lower()
