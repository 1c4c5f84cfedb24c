"""The algorithms that details are sealed with: the published answers, and nothing else opens."""

import os
from hashlib import sha256

import pytest

from sharegate.record.suite import SUITES

SM = SUITES["SM4GCM-SM3"]
BOTH = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)


def test_sm3_is_the_standards():
    """GB/T 32905-2016, examples 1 and 2 of its appendix."""
    for message, digest in {
        b"abc": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
        b"abcd" * 16: "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732",
    }.items():
        assert SM.digest(message).hex() == digest


def test_sm4_gcm_is_rfc_8998s():
    """RFC 8998, appendix A.1."""
    key = bytes.fromhex("0123456789abcdeffedcba9876543210")
    nonce = bytes.fromhex("00001234567800000000abcd")
    associated = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plaintext = b"".join(bytes([each]) * 8 for each in b"\xaa\xbb\xcc\xdd\xee\xff\xee\xaa")
    ciphertext = bytes.fromhex(
        "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
        "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
        "83de3541e4c2b58177e065a9bf7b62ec"
    )
    assert SM._sealed(key, nonce, plaintext, associated) == ciphertext
    assert SM._opened(key, nonce, ciphertext, associated) == plaintext


def test_the_rule_hashes_with_sha_256():
    assert SUITES["A256GCM"].digest(b"abc") == sha256(b"abc").digest()


@BOTH
def test_a_detail_opens_under_its_key_and_for_its_entry_alone(suite):
    key = os.urandom(suite.key_bytes)
    sealed = suite.encrypt(key, b"whole", b"entry 1")
    assert suite.decrypt(key, sealed, b"entry 1") == b"whole"
    other = bytes([key[0] ^ 1]) + key[1:]
    for given in (
        (other, sealed, b"entry 1"),
        (key, sealed, b"entry 2"),
        (key, sealed[:-1], b"entry 1"),
        (key, bytes([sealed[0] ^ 1]) + sealed[1:], b"entry 1"),
        (key, b"", b"entry 1"),
    ):
        with pytest.raises(ValueError):
            suite.decrypt(*given)


@BOTH
def test_a_key_is_wrapped_for_who_has_the_wrapping_key(suite):
    wrapping, key = os.urandom(suite.key_bytes), os.urandom(suite.key_bytes)
    wrapped = suite.wrap(wrapping, key, os.urandom)
    assert suite.unwrap(wrapping, wrapped) == key
    for given in (
        (bytes([wrapping[0] ^ 1]) + wrapping[1:], wrapped),
        (wrapping, bytes([wrapped[0] ^ 1]) + wrapped[1:]),
        (wrapping, wrapped[:-1]),
        (wrapping, wrapped[:5]),
        (wrapping, b""),
    ):
        with pytest.raises(ValueError):
            suite.unwrap(*given)


def test_a_wrapping_key_wraps_many_and_never_two_alike():
    wrapping, key = os.urandom(16), os.urandom(16)
    assert len({SM.wrap(wrapping, key, os.urandom) for _ in range(100)}) == 100
