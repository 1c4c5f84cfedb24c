"""Notes, checkpoints and receipts: one spelling each, and signatures that must hold."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit import checkpoint, note, receipt
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.note import Note, Signature, SignerKey, VerifierKey
from sharegate.audit.receipt import Receipt
from sharegate.audit.text import is_key_name, read_base64, read_decimal, write_base64
from sharegate.audit.tree import EMPTY_ROOT, Batch, Frontier, leaf_hash
from sharegate.audit.verdict import Malformed, Unproven

ORIGIN = "gateway.tax.example/log"


def signer(name, seed=1):
    return SignerKey(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


LOG = signer(ORIGIN)
WITNESS = signer("witness.example/w1", 2)
STRANGER = signer("stranger.example", 3)

LEAVES = [leaf_hash(b"entry %d" % i) for i in range(11)]
BATCH = Batch(Frontier.empty(), LEAVES)
STATE = Checkpoint(ORIGIN, 11, BATCH.after.root())
STATE_TEXT = checkpoint.encode(STATE)
STATE_NOTE = checkpoint.sign(STATE, LOG)
RECEIPT = Receipt(3, BATCH.path(3), STATE_NOTE, b"bytes of the entry")


def signed(text, *keys):
    return note.encode(Note(text, tuple(key.sign(text) for key in keys)))


def one_byte_away(data):
    """Give every text that differs from this one by one changed, missing or added byte."""
    for place, byte in enumerate(data):
        for other in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, 0x0A, 0x20, 0x30, 0x0D} - {byte}:
            yield data[:place] + bytes([other]) + data[place + 1 :]
        yield data[:place] + data[place + 1 :]
        yield data[:place] + data[place : place + 1] + data[place:]


# --- Words

NOT_NUMBERS = [
    "", "00", "0300", "+5", "-1", "1_0", " 1", "1 ", "1\n", "1.0", "1e3", "0x10",
    "\u0663", "\uff11", "\u00b2", "1\u0663", "1\uff11", "9223372036854775808", "9" * 30, "1\u2028",
]  # fmt: skip

NOT_BASE64 = [
    "AB==", "AAB=", "AA", "AA=", "AAA", "AAAA====", "AAAA=", "=AAA", "AA==AA==", "AA ==",
    "AA==\n", "A\nAA", "A-_A", "AA==\u2028", "\uff21\uff21==", "A",
]  # fmt: skip

NOT_KEY_NAMES = [
    "", "a b", "a+b", "a\tb", "a\u00a0b", "a\u2028b", "a\u3000b", "a\x85b", "a\nb", "a\x00b",
    "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_a_number_has_one_spelling(text):
    with pytest.raises(Malformed):
        read_decimal(text)


@given(st.integers(0, 2**63 - 1))
def test_numbers_are_read_back(number):
    assert read_decimal(str(number)) == number


@pytest.mark.parametrize("text", NOT_BASE64)
def test_base64_has_one_spelling(text):
    with pytest.raises(Malformed):
        read_base64(text)


@given(st.binary())
def test_base64_is_that_of_the_standard_library_and_is_read_back(data):
    assert write_base64(data) == base64.b64encode(data).decode()
    assert read_base64(write_base64(data)) == data


@given(st.text(alphabet="AB+/=- \n", max_size=8))
def test_base64_that_is_read_is_written_the_same(text):
    try:
        data = read_base64(text)
    except Malformed:
        return
    assert write_base64(data) == text


@pytest.mark.parametrize("text", NOT_KEY_NAMES)
def test_what_cannot_name_a_key(text):
    assert not is_key_name(text)
    with pytest.raises(Malformed):
        VerifierKey(text, bytes(32))
    with pytest.raises(Malformed):
        Signature(text, bytes(4), b"x")


# --- Known answers from others

# The example in the documentation of golang.org/x/mod/sumdb/note, its published seed too.
NEUMANN_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_SEED = "gQoUAtUUbI2E8kQzMPVAgOv5juF9nHT2JS/F1ccoMXM="
NEUMANN_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
NEUMANN_NOTE = (
    NEUMANN_TEXT + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()

# The example in C2SP signed-note.
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ON"
    "ncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()

# A checkpoint of Go's public module checksum database, whose origin is not its key's name.
GO_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
GO_ORIGIN = "go.sum database tree"
GO_NOTE = (
    f"{GO_ORIGIN}\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— sum.golang.org Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo"
    "+zyWE+xeMcTOAYQ8=\n"
).encode()


@pytest.mark.parametrize(
    ("vkey", "data"), [(NEUMANN_VKEY, NEUMANN_NOTE), (C2SP_VKEY, C2SP_NOTE), (GO_VKEY, GO_NOTE)]
)
def test_notes_signed_by_others_hold(vkey, data):
    key = VerifierKey.parse(vkey)
    assert key.vkey == vkey
    opened = note.open_note(data, [key])
    assert opened.signers == (key,)
    assert note.encode(opened.note) == data
    with pytest.raises((Unproven, Malformed)):
        note.open_note(data.replace(b"e", b"E", 1), [key])


def test_a_note_signed_here_is_the_one_signed_there():
    seed = base64.b64decode(NEUMANN_SEED)
    key = SignerKey("PeterNeumann", Ed25519PrivateKey.from_private_bytes(seed))
    assert key.vkey == NEUMANN_VKEY
    assert signed(NEUMANN_TEXT, key) == NEUMANN_NOTE


def test_a_checkpoint_signed_by_others_is_read():
    opened = note.open_note(GO_NOTE, [VerifierKey.parse(GO_VKEY)])
    state = checkpoint.parse(opened.note.text)
    assert (state.origin, state.size) == (GO_ORIGIN, 20852163)
    with pytest.raises(Unproven, match="no trusted key of"):
        checkpoint.open_checkpoint(GO_NOTE, [VerifierKey.parse(GO_VKEY)], GO_ORIGIN)


# --- Verifier keys


def test_no_part_of_a_vkey_is_a_vkey():
    for start in range(len(NEUMANN_VKEY)):
        for end in range(start, len(NEUMANN_VKEY) + 1):
            if end - start < len(NEUMANN_VKEY):
                with pytest.raises(Malformed):
                    VerifierKey.parse(NEUMANN_VKEY[start:end])


def test_a_private_key_given_by_mistake_is_not_repeated():
    for seed in range(64):  # some of them have plus signs, where a verifier key is cut
        private = Ed25519PrivateKey.from_private_bytes(leaf_hash(bytes([seed]))).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        secret = private.decode().split("\n")[1]
        with pytest.raises(Malformed) as refused:
            VerifierKey.parse(private.decode())
        assert not any(part in str(refused.value) for part in secret.split("+") if len(part) > 3)


def test_no_vkey_one_letter_away_is_read():
    for data in one_byte_away(NEUMANN_VKEY.encode()):
        with pytest.raises(Malformed):
            VerifierKey.parse(data.decode("latin-1"))


@pytest.mark.parametrize(
    ("vkey", "reason"),
    [
        (NEUMANN_VKEY.replace("c74f20a3", "C74F20A3"), "lower-case"),
        (NEUMANN_VKEY + "\n", "base64"),
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "base64"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "unsupported"),
        ("a+00000000+BAAA", "unsupported key type 04"),
        ("a+00000000+", "unsupported key type none"),
        ("a+00000000+AQAA", "32 bytes"),
    ],
)
def test_vkeys_that_are_refused(vkey, reason):
    with pytest.raises(Malformed, match=reason):
        VerifierKey.parse(vkey)


def test_a_name_with_letters_of_any_script_works():
    key = signer("税务局.example/日志")
    assert VerifierKey.parse(key.vkey) == key.verifier
    assert note.open_note(signed("x\n", key), [key.verifier]).signers == (key.verifier,)


def test_a_signer_key_does_not_print_its_secret():
    assert "private" not in repr(LOG).lower()


# --- Notes

NOT_NOTES = [
    b"",
    b"\n",
    b"\n\n",
    b"text\n",
    b"text\n\n",
    b"text\n\n\n",
    STATE_NOTE[:-1],
    STATE_NOTE + b"\n",
    STATE_NOTE + b"x\n",
    STATE_NOTE.replace(b"\n", b"\r\n"),
    STATE_NOTE.replace(b"\n\n", b"\n"),
    STATE_NOTE.replace("— ".encode(), b"- "),
    STATE_NOTE.replace("— ".encode(), "—".encode()),
    STATE_NOTE.replace("— ".encode(), "—\u00a0".encode()),
    STATE_NOTE.replace(b"=\n", b"= \n"),
    STATE_NOTE.replace(b"gateway", b"gate\x00way"),
    STATE_NOTE.replace(b"gateway", b"gate\xffway"),
    STATE_NOTE.replace(b"gateway", b"gate\xed\xa0\x80way"),
    STATE_NOTE.replace(b"\n", "\u2028".encode()),
    "text\n\n— a AAAAAAA=\u2028— b AAAAAAA=\n".encode(),
    "text\n\n— a AAAAAAA=\x85— b AAAAAAA=\n".encode(),
    b"text\n\n" + "— a AAAA\n".encode(),
    b"text\n\n" + "— a AAAAAA==\n".encode(),
    b"text\n\n" + "— a+b AAAAAAA=\n".encode(),
    b"text\n\n" + "—  AAAAAAA=\n".encode(),
    b"text\n\n" + "— a AAAAAAB=\n".encode(),
    b"text\n\n" + "— a  AAAAAAA=\n".encode(),
]


@pytest.mark.parametrize("data", NOT_NOTES)
def test_what_is_not_a_note(data):
    with pytest.raises(Malformed):
        note.parse(data)


def test_signed_text_may_hold_empty_lines_and_foreign_line_ends():
    for text in ("\n", "\n\n", "a\n\nb\n", "a\n\n\n", "a\u2028b\n", "a\x85b\n", "\ufeffa\n"):
        data = signed(text, LOG)
        assert note.open_note(data, [LOG.verifier]).note.text == text
        assert note.encode(note.parse(data)) == data


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "cr\r\n", "nul\x00\n"])
def test_text_no_note_can_hold(text):
    with pytest.raises(Malformed):
        Note(text, (LOG.sign("x\n"),))


def test_sixteen_signatures_are_read_and_a_flood_is_not():
    line = LOG.sign("x\n")
    for count in (1, 16, note.MAX_SIGNATURES):
        data = note.encode(Note("x\n", (line,) * count))
        assert note.open_note(data, [LOG.verifier]).signers == (LOG.verifier,)
    with pytest.raises(Malformed):
        note.parse(data + line.line.encode())
    with pytest.raises(Malformed):
        Note("x\n", ())
    with pytest.raises(Malformed):
        note.parse(b"x" * note.MAX_NOTE_BYTES + STATE_NOTE)


text_lines = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), max_size=12)
names = text_lines.filter(is_key_name)
signatures = st.builds(
    Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=70)
)
notes = st.builds(
    Note,
    st.lists(text_lines, min_size=1, max_size=4).map(lambda lines: "\n".join(lines) + "\n"),
    st.lists(signatures, min_size=1, max_size=4).map(tuple),
)


@given(notes)
def test_notes_are_read_back(value):
    data = note.encode(value)
    assert note.parse(data) == value
    assert note.encode(note.parse(data)) == data


@given(st.binary(max_size=80) | notes.map(note.encode).map(lambda data: data[1:]))
def test_whatever_is_read_as_a_note_is_written_the_same(data):
    try:
        value = note.parse(data)
    except Malformed:
        return
    assert note.encode(value) == data


def test_a_changed_byte_never_passes_for_signed():
    for data in one_byte_away(STATE_NOTE):
        with pytest.raises((Malformed, Unproven)):
            note.open_note(data, [LOG.verifier])


# --- Whose signature counts


def test_strangers_are_passed_over_and_do_not_suffice():
    data = signed("x\n", STRANGER, LOG, WITNESS)
    opened = note.open_note(data, [WITNESS.verifier, LOG.verifier])
    assert opened.signers == (LOG.verifier, WITNESS.verifier)
    assert len(opened.note.signatures) == 3
    for trusted in ([], [signer(ORIGIN, 9).verifier], [signer("other.example", 1).verifier]):
        with pytest.raises(Unproven, match="no trusted key"):
            note.open_note(data, trusted)


def test_one_bad_line_of_a_trusted_key_spoils_the_note():
    good, forged = LOG.sign("x\n"), LOG.sign("y\n")
    for lines in ((forged,), (good, forged), (forged, good), (WITNESS.sign("x\n"), forged)):
        with pytest.raises(Unproven, match="does not hold"):
            note.open_note(note.encode(Note("x\n", lines)), [LOG.verifier, WITNESS.verifier])
    # The same line by a key nobody trusts is nobody's business.
    data = note.encode(Note("x\n", (good, STRANGER.sign("y\n"))))
    assert note.open_note(data, [LOG.verifier]).signers == (LOG.verifier,)


def test_a_trusted_signature_of_another_length_spoils_the_note():
    good = LOG.sign("x\n")
    for signature in (good.signature[:-1], good.signature + b"\0", b"\0"):
        line = Signature(good.name, good.key_id, signature)
        with pytest.raises(Unproven):
            note.open_note(note.encode(Note("x\n", (line,))), [LOG.verifier])


def test_a_key_counts_once():
    line = LOG.sign("x\n")
    data = note.encode(Note("x\n", (line, line)))
    assert note.open_note(data, [LOG.verifier, LOG.verifier]).signers == (LOG.verifier,)


def test_two_keys_of_one_name_and_id_are_a_mistake_of_the_reader():
    impostor = VerifierKey(ORIGIN, bytes(32))
    object.__setattr__(impostor, "key_id", LOG.verifier.key_id)
    with pytest.raises(ValueError, match="one key id"):
        note.open_note(STATE_NOTE, [LOG.verifier, impostor])


# --- Checkpoints

ROOT = write_base64(STATE.root)


def test_the_empty_log_has_a_checkpoint():
    state = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert checkpoint.encode(state) == (
        f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    )
    assert checkpoint.parse(checkpoint.encode(state)) == state
    with pytest.raises(Malformed, match="empty log"):
        Checkpoint(ORIGIN, 0, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        STATE_TEXT[:-1],
        STATE_TEXT + "\n",
        STATE_TEXT + "extension\n",
        STATE_TEXT.replace("\n", "\r\n"),
        STATE_TEXT.replace("\n", "\u2028"),
        f"\n11\n{ROOT}\n",
        f"{ORIGIN}\n\n{ROOT}\n",
        f"{ORIGIN}\n11\n\n",
        f"{ORIGIN}\n11\n{write_base64(bytes(31))}\n",
        f"{ORIGIN}\n11\n{write_base64(bytes(33))}\n",
        f"{ORIGIN}\n11\n{ROOT[:-2]}{chr(ord(ROOT[-2]) + 1)}=\n",
        f"{ORIGIN}\n11\n {ROOT}\n",
        *(f"{ORIGIN}\n{number}\n{ROOT}\n" for number in NOT_NUMBERS),
    ],
)
def test_what_is_not_a_checkpoint(text):
    with pytest.raises(Malformed):
        checkpoint.parse(text)


@given(
    st.builds(
        Checkpoint,
        text_lines.filter(bool),
        st.integers(1, 2**63 - 1),
        st.binary(min_size=32, max_size=32),
    )
)
def test_checkpoints_are_read_back(state):
    assert checkpoint.parse(checkpoint.encode(state)) == state


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [("", 1, bytes(32)), ("a\nb", 1, bytes(32)), ("a", -1, bytes(32)), ("a", 2**63, bytes(32)),
     ("a", 1, bytes(31))],
)  # fmt: skip
def test_checkpoints_that_cannot_be(origin, size, root):
    with pytest.raises(Malformed):
        Checkpoint(origin, size, root)


def test_a_log_signs_its_own_checkpoints_only():
    with pytest.raises(ValueError, match="cannot sign"):
        checkpoint.sign(STATE, WITNESS)


def test_only_its_log_can_vouch_for_a_checkpoint():
    trusted = [LOG.verifier, WITNESS.verifier]
    assert checkpoint.open_checkpoint(STATE_NOTE, trusted, ORIGIN) == STATE
    both = signed(STATE_TEXT, LOG, WITNESS)
    assert checkpoint.open_checkpoint(both, trusted, ORIGIN) == STATE
    with pytest.raises(Unproven, match="no trusted key of"):
        checkpoint.open_checkpoint(signed(STATE_TEXT, WITNESS), trusted, ORIGIN)
    with pytest.raises(Unproven, match="not of"):
        checkpoint.open_checkpoint(STATE_NOTE, trusted, WITNESS.name)
    with pytest.raises(Malformed):
        checkpoint.open_checkpoint(signed("not a checkpoint\n", LOG), trusted, ORIGIN)


# --- Receipts


def test_a_receipt_as_it_is_kept():
    path = "".join(write_base64(step) + "\n" for step in BATCH.path(3))
    assert (
        receipt.encode(RECEIPT)
        == (
            "c2sp.org/tlog-proof@v1\n"
            f"extra {write_base64(b'bytes of the entry')}\n"
            f"index 3\n{path}\n"
        ).encode()
        + STATE_NOTE
    )
    assert len(BATCH.path(3)) == 4


@pytest.mark.parametrize("extra", [None, b"x"])
def test_receipts_are_read_back_and_hold(extra):
    for index in range(11):
        kept = Receipt(index, BATCH.path(index), STATE_NOTE, extra)
        data = receipt.encode(kept)
        assert receipt.parse(data) == kept
        assert receipt.encode(receipt.parse(data)) == data
        assert receipt.verify(kept, LEAVES[index], [LOG.verifier], ORIGIN) == STATE
        with pytest.raises(Unproven):
            receipt.verify(kept, LEAVES[index - 1], [LOG.verifier], ORIGIN)


def test_the_receipt_of_the_only_entry_has_an_empty_path():
    state = Checkpoint(ORIGIN, 1, LEAVES[0])
    data = receipt.encode(Receipt(0, (), checkpoint.sign(state, LOG)))
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + ORIGIN.encode())
    assert receipt.verify(receipt.parse(data), LEAVES[0], [LOG.verifier], ORIGIN) == state


def test_a_changed_receipt_is_refused_unless_only_its_extra_data_changed():
    for data in one_byte_away(receipt.encode(RECEIPT)):
        try:
            kept = receipt.parse(data)
            receipt.verify(kept, LEAVES[3], [LOG.verifier], ORIGIN)
        except (Malformed, Unproven):
            continue
        assert receipt.encode(kept) == data
        assert kept.extra != RECEIPT.extra
        assert kept == Receipt(RECEIPT.index, RECEIPT.path, RECEIPT.checkpoint_note, kept.extra)


HEAD, _, TAIL = receipt.encode(RECEIPT).partition(b"index 3\n")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        STATE_NOTE,
        receipt.encode(RECEIPT).replace(b"\n", b"\r\n"),
        receipt.encode(RECEIPT).replace(b"@v1", b"@v2"),
        receipt.encode(RECEIPT)[:-1],
        receipt.encode(RECEIPT) + b"\n",
        HEAD + TAIL,
        HEAD + HEAD.partition(b"\n")[2] + b"index 3\n" + TAIL,
        HEAD + b"index 3\nindex 3\n" + TAIL,
        HEAD + b"index 3 \n" + TAIL,
        HEAD + b"Index 3\n" + TAIL,
        HEAD + b"index  3\n" + TAIL,
        HEAD + b"index 3\n\n" + TAIL,
        HEAD + b"index 3\n" + TAIL.replace(b"\n", b"\n\n", 1),
        HEAD + b"index 3\n" + b"AAAA\n" + TAIL,
        HEAD + b"index 3\n" + (write_base64(bytes(32)).encode() + b"\n") * 60 + TAIL,
        HEAD.replace(b"extra ", b"extra  ") + b"index 3\n" + TAIL,
        b"c2sp.org/tlog-proof@v1\nextra \nindex 3\n" + TAIL,
        b"c2sp.org/tlog-proof@v1\nindex 3\n" + HEAD.partition(b"\n")[2] + TAIL,
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + signed("not a checkpoint\n", LOG),
        *(HEAD + b"index " + number.encode() + b"\n" + TAIL for number in NOT_NUMBERS),
    ],
)
def test_what_is_not_a_receipt(data):
    with pytest.raises(Malformed):
        receipt.parse(data)


@pytest.mark.parametrize(
    "parts",
    [(-1, ()), (2**63 - 1, ()), (0, (bytes(31),)), (0, (bytes(32),) * 64), (0, (), b"", b"")],
)
def test_receipts_that_cannot_be(parts):
    index, path, *rest = parts
    with pytest.raises(Malformed):
        Receipt(index, path, *(rest or [STATE_NOTE]))


def test_a_receipt_of_another_log_or_key_proves_nothing():
    with pytest.raises(Unproven):
        receipt.verify(RECEIPT, LEAVES[3], [signer(ORIGIN, 9).verifier], ORIGIN)
    with pytest.raises(Unproven):
        receipt.verify(RECEIPT, LEAVES[3], [LOG.verifier], "another.example/log")
