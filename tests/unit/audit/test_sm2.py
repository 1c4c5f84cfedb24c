"""SM2 lines: the standard's own example, and what is no line of the key's."""

from base64 import b64encode

import gmalg
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from sharegate.audit.note import Note, Signature, VerifierKey, encode, join_vkey, open_note
from sharegate.audit.sm2 import _SPKI, _TYPE, Sm2Key
from sharegate.audit.verdict import Malformed, Unproven

NAME = "sharegate.example/demo"
# GB/T 32918.5-2017, annex A.2: the key, the message and its signature.
SECRET = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
POINT = bytes.fromhex(
    "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
MESSAGE = b"message digest"
R = 0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3
S = 0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA
KEY = Sm2Key(NAME, POINT)
PEM = "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n"


def signed(message):
    r, s = gmalg.SM2(sk=SECRET, uid=b"1234567812345678", pk=POINT).sign(message)
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))


def test_the_standards_example_holds_and_no_other_message_or_number():
    assert KEY.accepts(MESSAGE, encode_dss_signature(R, S))
    assert not KEY.accepts(MESSAGE + b"s", encode_dss_signature(R, S))
    for r, s in ((S, R), (R + 1, S), (R, S - 1), (0, S), (R, 0), (1 << 256, S)):
        assert not KEY.accepts(MESSAGE, encode_dss_signature(r, s))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 71), st.integers(1, 255))
def test_no_changed_byte_of_a_signature_is_accepted(at, flip):
    signature = encode_dss_signature(R, S)
    at %= len(signature)
    changed = signature[:at] + bytes([signature[at] ^ flip]) + signature[at + 1 :]
    assert not KEY.accepts(MESSAGE, changed)


@pytest.mark.parametrize("signature", [b"", b"0", bytes(64), encode_dss_signature(R, S) + b"\0"])
def test_what_is_no_signature_is_not_accepted(signature):
    assert not KEY.accepts(MESSAGE, signature)


def test_a_key_is_written_and_read_as_a_vkey_and_from_pem():
    assert Sm2Key.parse(KEY.vkey) == KEY
    assert Sm2Key.parse(KEY.vkey).key_id == KEY.key_id
    assert Sm2Key.from_pem(NAME, PEM.format(b64encode(_SPKI + POINT).decode())) == KEY
    with pytest.raises(Malformed, match="unsupported key type ff"):
        VerifierKey.parse(KEY.vkey)


@pytest.mark.parametrize(
    "vkey",
    [
        join_vkey(NAME, b"\x01" + bytes(32)),
        join_vkey(NAME, _TYPE),
        join_vkey(NAME, _TYPE + POINT[:-1]),
        join_vkey(NAME, _TYPE + b"\x05" + POINT[1:]),
        join_vkey(NAME, _TYPE + POINT[:-1] + b"\0"),  # not on the curve
        join_vkey(NAME, _TYPE + b"\x04" + bytes(64)),
        KEY.vkey.replace(KEY.key_id.hex(), "00000000"),
        KEY.vkey.replace(NAME, "not a name"),
        "x",
    ],
)
def test_what_is_no_key_is_refused(vkey):
    with pytest.raises(Malformed):
        Sm2Key.parse(vkey)


@pytest.mark.parametrize(
    "pem",
    ["", "x", PEM.format("!"), PEM.format("AAAA"), PEM.format(b64encode(_SPKI).decode()),
     PEM.format(b64encode(_SPKI + POINT).decode()).replace("PUBLIC", "PRIVATE")],
)  # fmt: skip
def test_what_is_no_public_key_in_pem_is_refused(pem):
    with pytest.raises(Malformed):
        Sm2Key.from_pem(NAME, pem)


def test_its_line_vouches_for_a_note_and_a_stranger_passes_over_it():
    text = f"{NAME}\n1\n{b64encode(bytes(32)).decode()}\n"
    line = Signature(NAME, KEY.key_id, signed(text.encode()))
    assert open_note(encode(Note(text, (line,))), [KEY]).signers == (KEY,)
    other = Signature(NAME, KEY.key_id, signed(b"another text\n"))
    with pytest.raises(Unproven, match="does not hold"):
        open_note(encode(Note(text, (other,))), [KEY])
    stranger = VerifierKey(NAME, bytes(32))
    with pytest.raises(Unproven, match="no trusted key"):
        open_note(encode(Note(text, (line,))), [stranger])
