"""A leaf as a receipt carries it: deflated, since half of a leaf is the same words in each.

The `extra` line of a receipt is a zlib stream (RFC 1950) with a preset dictionary, the words below.
It is transport alone: what is hashed, stored and proven is the leaf.
"""

import zlib
from typing import Final

from sharegate.audit.chain import MAX_LEAF_BYTES
from sharegate.audit.verdict import Malformed

WORDS: Final = (
    b'"administer""query""submit""verify""evaluate""effect":"refer","question":"'
    b'"effect":"deny","reason":"no-grant","rule_set":"received""request""failure""refusal"'
    b'"consumer_entry":"SM4GCM-SM3","ruling":"number","name","date","status","type","address"'
    b"SGL1\0\0\0\0\0\0\0\0"
    b'{"asked_by":{"id_number":""},"caller":{"consumer":"","issuer":"https://officers.","key":"'
    b'","officer":""},"decision":{"effect":"permit","fields":["id_number"],"row_limit":20,'
    b'"rule":"-001","rule_set":""},"detail":{"algorithm":"A256GCM","ciphertext":"","plaintext":'
    b'"","readers":["",""],"retention":"personal-3y"},"id":"AZ","kind":"release","mode":"query",'
    b'"provider":"","purpose":{"code":"","legal_basis":"","matter":""},"request":"","resource":'
    b'{"id":"","version":1},"response":{"bytes":,"digest":"","rows":1},"schema":1,"time":17'
)
"""Never to be changed: receipts that are kept for years need them."""


def pack(leaf: bytes) -> bytes:
    """Give the extra data of the receipt of this leaf."""
    deflate = zlib.compressobj(zdict=WORDS)
    return deflate.compress(leaf) + deflate.flush()


def unpack(extra: bytes) -> bytes:
    """Give the leaf that a receipt carries; nothing is proven yet.

    Raises:
        Malformed: It carries none.
    """
    inflate = zlib.decompressobj(zdict=WORDS)
    try:
        leaf = inflate.decompress(extra, MAX_LEAF_BYTES + 1)
    except zlib.error:
        raise Malformed("the receipt does not carry an entry") from None
    if not inflate.eof or inflate.unused_data or len(leaf) > MAX_LEAF_BYTES:
        raise Malformed("the receipt does not carry one entry and no more")
    return leaf
