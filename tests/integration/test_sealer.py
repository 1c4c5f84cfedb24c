"""The log as files: whole, immutable, and verified by whoever has them and the log's key."""

import asyncio
import random
import shutil
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import Note, SignerKey, VerifierKey, encode, parse
from sharegate.audit.tiles import tiles_of
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.cli.audit import sealed as sealing
from sharegate.cli.main import main
from sharegate.consortium.sealer import Sealer
from sharegate.errors import LogDiverged
from sharegate.record.reader import PostgresReader
from tests.integration.searchable import KEY, invented, searchable

LOG = VerifierKey.parse(KEY.vkey)


class Sealed:
    """A log in a database, and its files."""

    def __init__(self, made, place):
        self.made = made
        self.place = place
        self.hashes = []

    async def grow(self, size):
        """Bring the log to so many entries, and give its signed checkpoint."""
        have = len(self.hashes)
        await self.made.append(*(invented(random.Random(n), n) for n in range(have, size)))
        leaves = (await self.made.database.leaves())[have:]
        self.hashes += [leaf_hash(leaf) for leaf in leaves]
        return self.note(size)

    def note(self, size, *cosigners, at=1):
        root = Frontier.empty().extend(self.hashes[:size]).root()
        note = sign(Checkpoint(KEY.name, size, root), KEY)
        text = parse(note).text
        lines = [each.cosign(text, at) for each in cosigners]
        return encode(Note(text, (*parse(note).signatures, *lines)))

    async def seal(self, note):
        reader = PostgresReader(self.made.database.read)
        try:
            return await Sealer(self.place, LOG, reader).seal(note)
        finally:
            await reader.close()

    def files(self):
        return {
            str(file.relative_to(self.place)): file.read_bytes()
            for file in self.place.rglob("*")
            if file.is_file()
        }


@pytest.fixture
async def sealed(database, tmp_path):
    place = tmp_path / "files"
    place.mkdir()
    return Sealed(await searchable(database), place)


def verified(place, *more):
    return main(["audit", "verify", str(place), "--log-key", KEY.vkey, *more])


async def test_step_by_step_gives_the_files_that_one_step_gives(sealed, tmp_path, capsys):
    """Over the edges of tiles, partial ones on the way and none left behind."""
    for size in (1, 255, 256, 257, 300, 511, 512, 700):
        assert await sealed.seal(await sealed.grow(size)) == size
        assert verified(sealed.place) == 0
        assert f"{size} entries" in capsys.readouterr().out
        names = {tile.path for tile in tiles_of(size)}
        assert names <= set(sealed.files())
    steps, sealed.place = sealed.files(), tmp_path / "at-once"
    sealed.place.mkdir()
    await sealed.seal(sealed.note(700))
    whole = sealed.files()
    assert whole.items() <= steps.items()
    # Of earlier sizes only the partial tiles are left that no full one has replaced.
    left = {name.partition(".p/")[0] for name in steps if name not in whole}
    assert left == {"tile/1/000"}


async def test_what_is_published_never_changes(sealed):
    await sealed.seal(await sealed.grow(300))
    before = sealed.files()
    await sealed.seal(await sealed.grow(600))
    after = sealed.files()
    kept = [name for name in before if ".p/" not in name and name != "checkpoint"]
    assert kept
    assert all(after[name] == before[name] for name in kept)
    assert await sealed.seal(sealed.note(600)) == 600  # again, and nothing is new
    assert sealed.files() == after


async def test_a_checkpoint_that_contradicts_what_is_published_is_not(sealed):
    await sealed.seal(await sealed.grow(300))
    published = sealed.files()
    await sealed.grow(400)
    others = [
        sealed.note(299),
        sign(Checkpoint(KEY.name, 300, bytes(32)), KEY),
        sign(Checkpoint(KEY.name, 400, bytes(32)), KEY),
        sign(
            Checkpoint("another.example", 400, bytes(32)),
            SignerKey("another.example", KEY.private_key),
        ),
        sign(Checkpoint(KEY.name, 500, bytes(32)), KEY),
    ]  # fmt: skip
    for note in others:
        with pytest.raises(LogDiverged):
            await sealed.seal(note)
        assert sealed.files() == published


async def test_nothing_is_written_of_a_log_that_is_not_what_was_signed(sealed):
    await sealed.seal(await sealed.grow(300))
    note = await sealed.grow(560)
    published = sealed.files()
    await sealed.made.alter(
        "update sharegate.entry set leaf = set_byte(leaf, 60, 0) where seq = 310"
    )
    with pytest.raises(LogDiverged, match="entry 310"):
        await sealed.seal(note)
    assert sealed.files() == published


@pytest.mark.parametrize("damage", ["lost", "altered"])
async def test_files_that_were_damaged_are_not_built_upon(sealed, damage):
    await sealed.seal(await sealed.grow(300))
    file = sealed.place / "tile" / "0" / "000"
    if damage == "lost":
        file.unlink()
    else:
        file.write_bytes(bytes(8192))
    with pytest.raises(LogDiverged):
        await sealed.seal(await sealed.grow(560))


@pytest.mark.parametrize("name", ["tile/entries/001", "tile/0/001", "tile/0/002.p/48"])
async def test_a_file_that_is_there_and_another_is_never_overwritten(sealed, name):
    await sealed.seal(await sealed.grow(300))
    file = sealed.place / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"another")
    with pytest.raises(LogDiverged, match="published otherwise"):
        await sealed.seal(await sealed.grow(560))
    assert file.read_bytes() == b"another"


async def test_entries_that_change_while_they_are_read_are_not_written(sealed, monkeypatch):
    note = await sealed.grow(300)
    read, asked = PostgresReader.leaves, []

    async def changing(self, first, most):
        asked.append(first)
        leaves = await read(self, first, most)
        return leaves if len(asked) == 1 else [*leaves[:7], leaves[7] + b" ", *leaves[8:]]

    monkeypatch.setattr(PostgresReader, "leaves", changing)
    with pytest.raises(LogDiverged, match="changed while they were read"):
        await sealed.seal(note)
    assert sealed.files() == {}


@pytest.mark.parametrize("most", [100, 290])
async def test_entries_that_vanish_while_they_are_read_are_no_bundle(sealed, monkeypatch, most):
    """A short bundle under a full tile's name would be in the way of every seal to come."""
    note = await sealed.grow(300)
    read, asked = PostgresReader.leaves, []

    async def vanishing(self, first, wanted):
        asked.append(first)
        return (await read(self, first, wanted))[: None if len(asked) != 2 else most]

    monkeypatch.setattr(PostgresReader, "leaves", vanishing)
    with pytest.raises(LogDiverged, match="vanished while they were read"):
        await sealed.seal(note)
    monkeypatch.undo()
    assert await sealed.seal(note) == 300
    assert verified(sealed.place) == 0


async def test_a_crash_at_any_file_leaves_what_was_published_whole(sealed, monkeypatch, capsys):
    """The disk fails at the n-th file; what is published verifies, and the next seal ends it."""
    await sealed.seal(await sealed.grow(300))
    note = await sealed.grow(620)
    rename, at = Path.replace, 0
    while True:
        count = 0

        def failing(self, to, at=at):
            nonlocal count
            count += 1
            if count > at:
                raise OSError(28, "No space left on device")
            return rename(self, to)

        monkeypatch.setattr(Path, "replace", failing)
        try:
            await sealed.seal(note)
        except OSError:
            monkeypatch.setattr(Path, "replace", rename)
            assert verified(sealed.place) == 0
            assert "300 entries" in capsys.readouterr().out
            at += 1
        else:
            break
    monkeypatch.undo()
    assert at >= 3
    assert verified(sealed.place) == 0


async def test_every_altered_file_is_found(sealed, tmp_path, capsys):
    """One bit anywhere in any file, or a file less: none of it is right."""
    await sealed.seal(await sealed.grow(600))
    chance = random.Random(9)
    names = sorted(sealed.files())
    for name in names * 3:
        copy = tmp_path / "copy"
        shutil.copytree(sealed.place, copy)
        file = copy / name
        data = bytearray(file.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        assert verified(copy) == 1, name
        file.unlink()
        assert verified(copy) == 1, name
        shutil.rmtree(copy)
    capsys.readouterr()


async def test_the_first_wrong_entry_is_named(sealed, capsys):
    await sealed.seal(await sealed.grow(600))
    bundle = sealed.place / "tile" / "entries" / "001"
    data = bytearray(bundle.read_bytes())
    data[5000] ^= 1
    bundle.write_bytes(data)
    assert verified(sealed.place) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"NOT RIGHT  {KEY.name}: entry 26")


async def test_a_log_that_was_written_anew_has_not_the_checkpoint_that_was_kept(
    sealed, tmp_path, capsys
):
    kept = tmp_path / "kept.note"
    await sealed.grow(600)
    await sealed.seal(sealed.note(600))
    for size in (0, 1, 255, 256, 257, 300, 512, 599, 600):
        kept.write_bytes(sealed.note(size))
        assert verified(sealed.place, "--kept", str(kept)) == 0, size
        if size:
            kept.write_bytes(sign(Checkpoint(KEY.name, size, b"\x01" * 32), KEY))
            assert verified(sealed.place, "--kept", str(kept)) == 1, size
    said = capsys.readouterr()
    assert "entries 0 to 299: the chain holds, but not up to the root" in said.out
    assert "two checkpoints of size 600" in said.err
    kept.write_bytes(sign(Checkpoint(KEY.name, 601, b"\x01" * 32), KEY))
    assert verified(sealed.place, "--kept", str(kept)) == 1
    assert "a checkpoint of 601 entries is known, the files have 600" in capsys.readouterr().err


@pytest.mark.parametrize("width", [1, 2, 64])
async def test_many_processes_say_what_one_says(sealed, monkeypatch, capsys, width):
    """However the bundles are dealt out: a seam is where a swapped or missing part could hide."""
    monkeypatch.setattr(sealing, "_PART", width)
    await sealed.seal(await sealed.grow(1100))
    assert verified(sealed.place, "--processes", "2") == 0
    one, two = (sealed.place / "tile" / "entries" / name for name in ("001", "002"))
    first, second = one.read_bytes(), two.read_bytes()
    for data in (second, first[:-1] + bytes([first[-1] ^ 1])):
        one.write_bytes(data)
        capsys.readouterr()
        assert verified(sealed.place, "--processes", "2") == 1
        in_many = capsys.readouterr()
        assert verified(sealed.place, "--processes", "1") == 1
        assert capsys.readouterr() == in_many
        assert "entry 256" in in_many.out or "entry 511" in in_many.out
        one.write_bytes(first)


async def test_a_process_that_dies_is_no_verdict(sealed, monkeypatch, capsys):
    monkeypatch.setattr(sealing, "_PART", 1)
    await sealed.seal(await sealed.grow(600))

    def dies(*_):
        raise BrokenProcessPool

    monkeypatch.setattr(sealing.ProcessPoolExecutor, "submit", dies)
    assert verified(sealed.place, "--processes", "2") == 1
    said = capsys.readouterr()
    assert "a process was ended while it hashed" in said.err
    assert not said.out


async def test_a_quorum_is_demanded_offline(sealed, tmp_path, capsys):
    one, two = (
        Cosigner(f"{n}.example/w", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))
        for n in (1, 2)
    )
    quorum = tmp_path / "quorum"
    lines = [f"log {KEY.vkey}", f"witness a {one.verifier.vkey}", f"witness b {two.verifier.vkey}",
             "group both all a b", "quorum both", ""]  # fmt: skip
    quorum.write_text("\n".join(lines))
    await sealed.grow(20)
    await sealed.seal(sealed.note(20, one))
    assert verified(sealed.place) == 0
    assert verified(sealed.place, "--quorum", str(quorum)) == 1
    assert "cosigned by a" in capsys.readouterr().err
    await sealed.seal(sealed.note(20, one, two))  # the same size, with more lines
    assert verified(sealed.place, "--quorum", str(quorum)) == 0


async def test_the_command_follows_the_log(sealed, tmp_path, capsys):
    config = sealed.made.settings(tmp_path)
    await sealed.grow(30)
    await sealed.made.sign()
    seal = ["seal", "--config", str(config), "--out", str(tmp_path / "out"), "--once"]
    assert await asyncio.to_thread(main, seal) == 0
    assert "30 entries" in capsys.readouterr().out
    assert verified(tmp_path / "out") == 0


def test_either_files_or_settings_are_verified(tmp_path, capsys):
    assert main(["audit", "verify"]) == 1
    assert main(["audit", "verify", str(tmp_path)]) == 1
    assert main(["audit", "verify", str(tmp_path), "--log-key", "x+y"]) == 1
    assert main(["audit", "verify", str(tmp_path), "--log-key", KEY.vkey]) == 1
    assert "checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "x", "--kept", "x"),
        ("--config", "x", "--quorum", "x"),
        ("--config", "x", "--stamp-roots", "x"),
        ("x", "--log-key", KEY.vkey, "--resume", "x"),
    ],
)
def test_what_would_be_passed_over_is_refused(capsys, arguments):
    assert main(["audit", "verify", *arguments]) == 1
    assert f"{arguments[-2]}: does not go with this" in capsys.readouterr().err
