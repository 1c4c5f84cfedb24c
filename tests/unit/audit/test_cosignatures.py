"""Cosignatures: what exactly is signed, by whom, and when; and which lines are none."""

import base64
import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit import checkpoint, note
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.cosignature import Algorithm, Cosigner, CosignerKey, cosigned_at
from sharegate.audit.note import Note, Signature, SignerKey, VerifierKey, open_note
from sharegate.audit.verdict import Malformed, Unproven

ORIGIN = "example.com/behind-the-sofa"
ROOT = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
STATE = Checkpoint(ORIGIN, 20852163, ROOT)
TEXT = checkpoint.encode(STATE)
AT = 1679315147
NAME = "witness.example.com/w1"
ED25519 = Cosigner(NAME, Ed25519PrivateKey.from_private_bytes(b"w" * 32))
ML_DSA = Cosigner(NAME, MLDSA44PrivateKey.from_seed_bytes(b"w" * 32))
LOG = SignerKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
COSIGNERS = pytest.mark.parametrize("cosigner", [ED25519, ML_DSA], ids=["ed25519", "ml-dsa"])
# Written from the specification, not from the code.
ED25519_SIGNED = f"cosignature/v1\ntime {AT}\n{TEXT}".encode()
ML_DSA_SIGNED = (
    b"subtree/v1\n\0" + b"\x16witness.example.com/w1" + struct.pack(">Q", AT)
    + b"\x1bexample.com/behind-the-sofa" + struct.pack(">QQ", 0, 20852163) + ROOT
)  # fmt: skip


def noted(*lines, text=TEXT):
    return note.encode(Note(text, (LOG.sign(text), *lines)))


def accepted(cosigner, line, text=TEXT):
    opened = open_note(noted(line, text=text), [LOG.verifier, cosigner.verifier])
    return cosigner.verifier in opened.signers


def test_what_the_specification_says_is_signed():
    line = ED25519.cosign(TEXT, AT)
    public = ED25519.private_key.public_key()
    public.verify(line.signature[8:], ED25519_SIGNED)
    line = ML_DSA.cosign(TEXT, AT)
    ML_DSA.private_key.public_key().verify(line.signature[8:], ML_DSA_SIGNED)
    assert len(line.signature) == 8 + 2420


@COSIGNERS
def test_a_line_is_the_key_id_the_time_and_the_signature(cosigner):
    line = cosigner.cosign(TEXT, AT)
    kind = {Algorithm.ED25519: b"\x04", Algorithm.ML_DSA_44: b"\x06"}[cosigner.verifier.algorithm]
    material = kind + cosigner.private_key.public_key().public_bytes_raw()
    assert line.name == NAME
    assert line.key_id == hashlib.sha256(NAME.encode() + b"\n" + material).digest()[:4]
    assert line.signature[:8] == struct.pack(">Q", AT)
    assert cosigned_at(line) == AT
    assert accepted(cosigner, line)
    assert Signature.parse(line.line[:-1]) == line


def test_the_time_in_the_specifications_example_is_read():
    line = Signature.parse(
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
        "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    )
    assert cosigned_at(line) == AT
    assert len(line.signature) == 8 + 64
    with pytest.raises(Malformed, match="time"):
        cosigned_at(Signature("w", b"1234", b"1234567"))


@COSIGNERS
@given(data=st.data())
def test_no_other_bytes_are_a_cosignature(cosigner, data):
    line = cosigner.cosign(TEXT, AT)
    at = data.draw(st.integers(0, len(line.signature) - 1))
    flipped = bytearray(line.signature)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for signature in (bytes(flipped), line.signature[:at] or b"0", line.signature + b"\0"):
        with pytest.raises(Unproven, match="does not hold"):
            accepted(cosigner, Signature(line.name, line.key_id, signature))


@COSIGNERS
@pytest.mark.parametrize(
    "other",
    [
        Checkpoint(ORIGIN, STATE.size + 1, ROOT),
        Checkpoint(ORIGIN, STATE.size, bytes(32)),
        Checkpoint(ORIGIN + "/2", STATE.size, ROOT),
    ],
)
def test_it_holds_for_one_checkpoint(cosigner, other):
    line = cosigner.cosign(TEXT, AT)
    with pytest.raises(Unproven, match="does not hold"):
        accepted(cosigner, line, text=checkpoint.encode(other))


def test_an_ml_dsa_line_is_by_one_name_alone():
    other = Cosigner("witness.example.com/w2", ML_DSA.private_key)
    line = ML_DSA.cosign(TEXT, AT)
    forged = Signature(other.name, other.verifier.key_id, line.signature)
    with pytest.raises(Unproven, match="does not hold"):
        accepted(other, forged)


@COSIGNERS
def test_a_strangers_line_is_passed_over_and_a_logs_signature_is_no_cosignature(cosigner):
    line = cosigner.cosign(TEXT, AT)
    opened = open_note(noted(line), [LOG.verifier])
    assert opened.signers == (LOG.verifier,)
    posing = SignerKey(NAME, Ed25519PrivateKey.from_private_bytes(b"w" * 32)).sign(TEXT)
    with pytest.raises(Unproven):
        accepted(cosigner, Signature(NAME, cosigner.verifier.key_id, posing.signature))


@COSIGNERS
@pytest.mark.parametrize("at", [0, -1, 2**63])
def test_nothing_is_cosigned_at_no_time(cosigner, at):
    with pytest.raises(ValueError, match="no cosignature"):
        cosigner.cosign(TEXT, at)


@pytest.mark.parametrize(
    ("at", "holds"), [(0, False), (1, True), (2**63 - 1, True), (2**63, False)]
)
def test_a_time_that_is_none_is_refused_though_it_was_signed(at, holds):
    signed = ED25519.private_key.sign(f"cosignature/v1\ntime {at}\n{TEXT}".encode())
    line = struct.pack(">Q", at) + signed
    assert ED25519.verifier.accepts(TEXT.encode(), line) is holds


@COSIGNERS
def test_only_a_checkpoint_is_cosigned(cosigner):
    with pytest.raises(Malformed):
        cosigner.cosign("anything\n", AT)
    assert not ML_DSA.verifier.accepts(b"\xff", bytes(2428))
    assert not ML_DSA.verifier.accepts(b"anything\n", b"\0" * 7 + b"\1" + bytes(2420))


def test_ml_dsa_signs_no_origin_and_no_name_it_cannot_write():
    long = checkpoint.encode(Checkpoint("o" * 256, 1, ROOT))
    with pytest.raises(Malformed, match="255"):
        ML_DSA.cosign(long, AT)
    assert accepted(ED25519, ED25519.cosign(long, AT), text=long)
    widest = checkpoint.encode(Checkpoint("字" * 85, 1, ROOT))  # 255 bytes
    assert accepted(ML_DSA, ML_DSA.cosign(widest, AT), text=widest)
    with pytest.raises(Malformed, match="255"):
        Cosigner("w" * 256, ML_DSA.private_key)
    Cosigner("w" * 256, ED25519.private_key)


@COSIGNERS
def test_a_vkey_is_read_back_and_no_other_is_read(cosigner):
    key = cosigner.verifier
    assert CosignerKey.parse(key.vkey) == key
    name, key_id, encoded = key.vkey.split("+", 2)
    material = base64.b64decode(encoded)
    for wrong in (
        "", name, f"{name}+{key_id}", f"{name}+{'0' * 8}+{encoded}", f"{name}+{key_id}+",
        f"{name}+{key_id}+{base64.b64encode(material[:-1]).decode()}",
        f"{name}+{key_id}+{base64.b64encode(bytes([1]) + material[1:]).decode()}",
        f"x{name}+{key_id}+{encoded}",
    ):  # fmt: skip
        with pytest.raises(Malformed):
            CosignerKey.parse(wrong)
    with pytest.raises(Malformed, match="only 01"):
        VerifierKey.parse(key.vkey)
    with pytest.raises(Malformed, match="no cosigner's"):
        CosignerKey.parse(LOG.vkey)


def test_keys_do_not_print_themselves():
    assert "public_key" not in repr(ML_DSA.verifier)
    assert "private_key" not in repr(ED25519)
