"""Witnesses as processes, and a site whose audit log has four of them."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from sharegate.audit.cosignature import CosignerKey
from sharegate.cli.main import main
from tests.site import free_port

ROOT = Path(__file__).parents[2]


@dataclass
class Member:
    """One witness: its files, its process."""

    place: Path
    name: str
    port: int
    keys: list[CosignerKey]
    process: subprocess.Popen | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self):
        return str(self.place / "witness.toml")

    def start(self):
        with (self.place / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sharegate", "witness", "serve", "--config", self.config],
                cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            time.sleep(0.02)
        raise AssertionError((self.place / "output").read_text())

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return 0
        self.process.send_signal(how)
        return self.process.wait(20)

    def output(self):
        return (self.place / "output").read_text(encoding="utf-8")


def make_member(place, name, log_key, *, kinds=("witness", "witness-ml-dsa")):
    """Make a witness, keys and all, by the commands an operator uses."""
    home = place / name
    home.mkdir()
    keys = []
    for kind in kinds:
        key, said = home / f"{kind}.pem", home / f"{kind}.vkey"
        with said.open("w") as output, contextlib.redirect_stdout(output):
            assert main(["key", kind, str(key), "--origin", f"{name}.example/witness"]) == 0
        keys.append(CosignerKey.parse(said.read_text().strip()))
    port = free_port()
    files = ", ".join(f'"{kind}.pem"' for kind in kinds)
    (home / "witness.toml").write_text(
        f'name = "{name}.example/witness"\nkeys = [{files}]\n'
        f'listen = "127.0.0.1:{port}"\nstate = "state"\nlogs = ["{log_key}"]\n'
    )
    return Member(home, name, port, keys)


@dataclass
class Witnesses:
    """Four witnesses of one site's log; three must cosign."""

    place: Path
    log_key: str
    members: list[Member] = field(default_factory=list)

    def __post_init__(self):
        origin = self.log_key.partition("+")[0]
        for name in "abcd":
            one = make_member(self.place, name, self.log_key, kinds=("witness",))
            assert main(["witness", "begin", origin, "--config", one.config]) == 0
            self.members.append(one)

    def start(self):
        for one in self.members:
            one.start()

    def stop(self):
        for one in self.members:
            one.stop(signal.SIGKILL)

    def quorum_file(self, urls=None):
        """The quorum file; some witnesses may be elsewhere."""
        lines = [f"log {self.log_key}"]
        for one in self.members:
            url = (urls or {}).get(one.name, one.url)
            lines.append(f"witness {one.name} {one.keys[0].vkey} {url}")
        lines += ["group members 3 a b c d", "quorum members", ""]
        file = self.place / "quorum"
        file.write_text("\n".join(lines))
        return file


def witnessed(gateway, quorum):
    """Give a gateway its quorum file; to be done before it starts."""
    text = gateway.config.read_text()
    text = re.sub(r"(?m)^quorum = .*\n", "", text)
    gateway.config.write_text(text.replace("[audit_log]\n", f'[audit_log]\nquorum = "{quorum}"\n'))
