"""Release lets go what was recorded, unchanged, with a receipt that anyone can check."""

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from sharegate.audit import receipt as tlog_proof
from sharegate.audit.carried import unpack
from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import SignerKey
from sharegate.audit.tree import Batch, Frontier, leaf_hash
from sharegate.audit.verdict import Unproven
from sharegate.model.decision import Reason
from sharegate.model.passage import Covered, Recorded, Refusal
from sharegate.release import Release

KEY = SignerKey("audit.example", Ed25519PrivateKey.from_private_bytes(b"\x05" * 32))
EXCHANGE = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
OUTCOME = Refusal(Reason.NO_GRANT, None, "No.")
LEAVES = [encode_leaf(n, GENESIS, b"%d" % n) for n in range(11)]


def recorded(index=4, answer=b'{"rows": []}\n'):
    batch = Batch(Frontier.empty(), [leaf_hash(leaf) for leaf in LEAVES])
    note = sign(Checkpoint(KEY.name, 11, batch.after.root()), KEY)
    return Recorded(EXCHANGE, OUTCOME, answer, Covered(index, LEAVES[index], note, batch))


@pytest.mark.parametrize("answer", [None, b"", b'{"rows": []}\n', bytes(range(256))])
@pytest.mark.parametrize("receipt", [True, False])
def test_the_recorded_bytes_leave_unchanged(answer, receipt):
    released = Release()(recorded(answer=answer), receipt=receipt)
    assert released.body == answer
    assert (released.exchange_id, released.outcome, released.index) == (EXCHANGE, OUTCOME, 4)
    assert (released.receipt is not None) is receipt


@pytest.mark.parametrize("index", range(len(LEAVES)))
def test_the_receipt_proves_the_entry_it_carries_and_no_other(index):
    written = Release()(recorded(index), receipt=True).receipt
    read = tlog_proof.parse(written)
    assert tlog_proof.encode(read) == written
    assert unpack(read.extra) == LEAVES[index]
    assert read.index == index
    assert tlog_proof.verify(read, leaf_hash(LEAVES[index]), [KEY.verifier], KEY.name).size == 11
    for other in (*LEAVES[:index], *LEAVES[index + 1 :], b"x"):
        with pytest.raises(Unproven):
            tlog_proof.verify(read, leaf_hash(other), [KEY.verifier], KEY.name)


def test_a_receipt_asked_for_later_is_the_same():
    made = recorded()
    assert Release().receipt(made.covered) == Release()(made, receipt=True).receipt


def test_paths_are_asked_for_only_when_a_receipt_is_wanted():
    class Never:
        def path(self, index):
            raise AssertionError(f"nobody wanted the path of {index}")

    made = recorded()
    made = replace(made, covered=replace(made.covered, paths=Never()))
    assert Release()(made, receipt=False).receipt is None
