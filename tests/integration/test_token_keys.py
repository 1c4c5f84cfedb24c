"""Keys in a PKCS#11 token, a SoftHSM: they sign like keys from files, and are not given out."""

import asyncio
import contextlib
import copy
import os
import secrets
import sys

import pkcs11
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pkcs11 import Attribute, KeyType, Mechanism

from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.cli.audit import verify_log
from sharegate.cli.call import prepare, send
from sharegate.cli.demo.stage import ORIGIN
from sharegate.cli.main import main
from sharegate.errors import Misconfigured
from sharegate.private_keys import load_cosigner_key, load_ed25519, seed_of
from sharegate.record.verified import verify_answer
from sharegate.settings import load_settings
from tests.integration.debian import run, unpacked

PIN = "canary-5678"
ED25519 = bytes.fromhex("06032b6570")  # its object identifier (RFC 8410), DER
WHAT = "no key in a token was tried"


class Token:
    """A SoftHSM with one token, and the files that name its keys."""

    def __init__(self, place, binaries):
        self.place = place
        self.label = f"sharegate-{secrets.token_hex(4)}"
        self.module = binaries / "usr" / "lib" / "softhsm" / "libsofthsm2.so"
        made = run(
            str(binaries / "usr" / "bin" / "softhsm2-util"), "--module", str(self.module),
            "--init-token", "--free", "--label", self.label, "--so-pin", "1234", "--pin", PIN,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        (place / "pin").write_text(PIN + "\n")
        self.library = pkcs11.lib(str(self.module))
        with contextlib.suppress(pkcs11.exceptions.PKCS11Error):
            self.library.reinitialize()  # it looks for tokens when it begins

    def make(self, name):
        """Make a key as an operator does with his vendor's tool; give the file that names it."""
        token = self.library.get_token(token_label=self.label)
        with self.opened(token) as session:
            curve = session.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: ED25519}, local=True
            )
            mechanism = Mechanism.EC_EDWARDS_KEY_PAIR_GEN
            curve.generate_keypair(mechanism=mechanism, label=name, store=True)
        return self.named(name)

    @staticmethod
    def opened(token):
        try:
            return token.open(rw=True, user_pin=PIN)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            return token.open(rw=True)

    def uri(self, name):
        token = f"pkcs11:token={self.label};object={name.replace(' ', '%20')}"
        return f"{token}?module-path={self.module}&pin-source=file:pin"

    def named(self, name):
        file = self.place / f"{secrets.token_hex(4)}.pkcs11"
        file.write_text(self.uri(name) + "\n")
        return file


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    binaries = unpacked("softhsm", "softhsm2", "libsofthsm2", "softhsm2-common", what=WHAT)
    place = tmp_path_factory.mktemp("hsm")
    (place / "tokens").mkdir()
    (place / "softhsm2.conf").write_text(f"directories.tokendir = {place / 'tokens'}\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(place / "softhsm2.conf")
    yield Token(place, binaries)
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


async def test_a_gateway_signs_its_log_with_a_key_that_never_leaves_its_token(
    token, site, capsys, monkeypatch
):
    file = token.make("log")
    assert main(["key", "public", str(file), "--as", "log", "--origin", ORIGIN]) == 0
    site.log_key = capsys.readouterr().out.strip()
    (site.place / "keys" / "pin").write_text(PIN)
    (site.place / "keys" / "log.pem").write_text(token.uri("log"))
    gateway = site.gateway()
    gateway.start()
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert reply.status == 200
    verified = verify_answer(reply.body, reply.receipt, site.log_key)
    assert gateway.stop() == 0
    entries = await verify_log(load_settings(gateway.config).audit_log)
    assert entries > verified.index
    gateway.start()  # its memory, and what is derived of the key, are those of before
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert reply.status == 200
    assert gateway.stop() == 0
    assert PIN not in gateway.output.read_text()


def test_it_signs_as_a_key_from_a_file_does(token):
    key = load_ed25519(token.make("a key"))
    signature = key.sign(b"message")
    key.public_key().verify(signature, b"message")
    assert key.sign(b"message") == signature
    note = SignerKey(ORIGIN, key).sign("text\n")
    assert VerifierKey.parse(SignerKey(ORIGIN, key).vkey).accepts(b"text\n", note.signature)
    cosigner = Cosigner("w.example", load_cosigner_key(token.named("a key")))
    text = f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert cosigner.verifier.accepts(text.encode(), cosigner.cosign(text, 1).signature)


def test_it_is_not_given_out_and_what_is_derived_of_it_stays(token):
    file = token.make("seeded")
    key = load_ed25519(file)
    with pytest.raises(ValueError, match="not given out"):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="not given out"):
        key.private_bytes_raw()
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key
    assert len(seed_of(key)) == 32
    assert seed_of(key) == seed_of(load_ed25519(file))
    assert seed_of(key) != seed_of(load_ed25519(token.make("another")))


async def test_many_may_sign_at_once(token):
    key = load_ed25519(token.make("shared"))
    messages = [b"%d" % n for n in range(64)]
    signatures = await asyncio.gather(*(asyncio.to_thread(key.sign, each) for each in messages))
    for message, signature in zip(messages, signatures, strict=True):
        key.public_key().verify(signature, message)


def test_a_session_that_was_lost_is_opened_again_and_only_for_the_same_key(token, monkeypatch):
    key = load_ed25519(token.make("lost"))
    key._session.close()
    key.public_key().verify(key.sign(b"again"), b"again")
    key._session.close()
    (token.place / "pin").rename(token.place / "away")
    with pytest.raises(OSError, match="No such file"):
        key.sign(b"never")
    (token.place / "away").rename(token.place / "pin")
    key.public_key().verify(key.sign(b"again"), b"again")
    other = load_ed25519(token.make("other"))
    monkeypatch.setattr(key, "_public", other.public_key())
    key._session.close()
    for _ in range(2):  # nor later, with the key that was found then
        with pytest.raises(OSError, match="another key"):
            key.sign(b"never")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("object=right", "object=none", "NoSuchKey"),
        ("token=", "token=x", "NoSuchToken"),
        ("module-path=", "module-path=/nowhere", "cannot be used"),
        ("file:pin", "none", "No such file"),
        ("pin-source=file:pin", "pin-value=1", "needs module-path and pin-source"),
        ("object=right", "object=right;id=1", "needs object and token"),
        ("object=right", "object=", "needs object and token"),
        (";object=right", "", "needs object and token"),
        ("&pin-source", "&pin-source=pin&pin-source", "needs module-path and pin-source"),
    ],
)
def test_what_cannot_be_used_is_named_and_no_pin_is_repeated(token, old, new, says):
    right = token.make("right")
    text = right.read_text()
    assert old in text
    right.write_text(text.replace(old, new))
    with pytest.raises(Misconfigured) as refused:
        load_ed25519(right)
    assert says in str(refused.value)
    assert "canary" not in str(refused.value)


def test_a_wrong_pin_is_named_and_not_repeated(token):
    file = token.make("locked")
    file.write_text(file.read_text().replace("file:pin", "file:wrong"))
    (token.place / "wrong").write_text("canary-9999")
    # In a process of its own: here somebody has logged in already.
    said = run(sys.executable, "-m", "sharegate", "key", "public", str(file), "--as", "member")
    assert said.returncode == 1
    assert "PinIncorrect" in said.stderr
    assert "canary" not in said.stderr


def test_without_the_extra_it_says_which_one_is_missing(token, monkeypatch):
    file = token.make("unused")
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(Misconfigured, match=r"sharegate\[hsm\]"):
        load_ed25519(file)


def test_the_public_half_of_any_key_can_be_said(token, tmp_path, capsys):
    file = tmp_path / "key.pem"
    for kind, origin in (
        ("log", ["--origin", "o"]),
        ("member", []),
        ("witness", ["--origin", "o"]),
    ):
        file.unlink(missing_ok=True)
        assert main(["key", kind, str(file), *origin]) == 0
        said = capsys.readouterr().out
        assert main(["key", "public", str(file), "--as", kind, *origin]) == 0
        assert capsys.readouterr().out == said
    assert main(["key", "public", str(file), "--as", "log"]) == 1
    assert main(["key", "public", str(file), "--as", "member", "--origin", "o"]) == 1
