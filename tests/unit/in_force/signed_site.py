"""A policies folder and a registry with everybody's keys, to be signed rightly and wrongly."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.note import SignerKey
from sharegate.authorize.signed import PROVIDER_NOTE, ROOT_NOTE
from sharegate.cli.demo.stage import ADMINISTRATORS, DEPARTMENTS
from sharegate.identify.identify import Identify
from sharegate.in_force.found import read_sets
from sharegate.in_force.judge import Judge
from sharegate.in_force.memory import SetMemory
from sharegate.model.signed import (
    REGISTRY_SET,
    ROOT_SET,
    Administrators,
    add_signature,
    next_version,
    state,
)
from tests.site import POLICIES

X25519 = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="
DEPARTMENT = """
[[department]]
id = "{name}"
name_zh = "局"
name_en = "Bureau"
policy_keys = [{keys}]
"""


def key(name: str, number: int = 0) -> SignerKey:
    """A key that is the same each time."""
    seed = (name.encode() * 32)[:31] + bytes([number])
    return SignerKey(name, Ed25519PrivateKey.from_private_bytes(seed))


@dataclass
class SignedSite:
    """The files, and what judges them."""

    place: Path
    owners: dict[str, list[SignerKey]] = field(
        default_factory=lambda: {name: [key(name)] for name in DEPARTMENTS}
    )
    more: str = ""

    @property
    def policies(self) -> Path:
        return self.place / "policies"

    @property
    def registry(self) -> Path:
        return self.place / "registry.toml"

    def judge(self) -> Judge:
        return Judge(
            self.policies,
            self.registry,
            Administrators(tuple(key(name).verifier for name in ADMINISTRATORS), 2),
            frozenset(DEPARTMENTS),
            lambda registry: Identify(registry, authority="here", audience="here"),
        )

    def memory(self) -> SetMemory:
        return SetMemory(self.place / "versions.toml")

    def found(self):
        return read_sets(self.policies, self.registry)

    def write_registry(self, version: int, more: str = "") -> None:
        departments = (
            DEPARTMENT.format(name=name, keys=", ".join(f'"{one.vkey}"' for one in keys))
            for name, keys in self.owners.items()
        )
        office = f'version = {version}\naudit_office_key = "{X25519}"\n'
        self.registry.write_text(office + more + "".join(departments), encoding="utf-8")

    def sign_registry(self, *signers: SignerKey) -> None:
        content = self.registry.read_bytes()
        version = int(re.match(rb"version = (\d+)", content)[1])
        self._sign(
            self.registry.with_suffix(".note"),
            state(REGISTRY_SET, version, {self.registry.name: content}),
            signers or administrators(2),
        )

    def sign_all(self) -> None:
        """Sign the registry, the common rules and every provider's."""
        self.sign_registry()
        self.sign_root()
        for folder in self.policies.iterdir():
            if folder.is_dir():
                self.sign(folder.name)

    def sign_root(self, *signers: SignerKey, version: int | None = None) -> None:
        files = self.files(self.policies)
        note = self.policies / ROOT_NOTE
        version = version or next_version(_bytes(note), ROOT_SET, files)
        self._sign(note, state(ROOT_SET, version, files), signers or administrators(2))

    def sign(self, name: str, *signers: SignerKey, version: int | None = None) -> None:
        files = self.files(self.policies / name)
        note = self.note(name)
        version = version or next_version(_bytes(note), name, files)
        self._sign(note, state(name, version, files), signers or (key(name),))

    def note(self, name: str) -> Path:
        return self.policies / name / PROVIDER_NOTE

    def files(self, folder: Path) -> dict[str, bytes]:
        return {
            one.name: one.read_bytes()
            for one in folder.iterdir()
            if one.is_file() and one.suffix != ".note" and one.name != "README.md"
        }

    def change(self, name: str, old: str, new: str, file: str = "grants.csv") -> None:
        """Change one text in a provider's file."""
        path = self.policies / name / file
        text = path.read_text(encoding="utf-8")
        assert old in text, (path, old)
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def _sign(self, note, statement, signers):
        signed = None
        for signer in signers:
            signed = add_signature(signed, statement, signer)
        note.write_bytes(signed)


def administrators(count: int) -> list[SignerKey]:
    return [key(name) for name in ADMINISTRATORS[:count]]


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def signed_site(place: Path) -> SignedSite:
    """All of it, signed as it must be, every version 1."""
    shutil.copytree(POLICIES, place / "policies")
    site = SignedSite(place)
    site.write_registry(1)
    site.sign_all()
    return site
