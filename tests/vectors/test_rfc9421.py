"""The examples of RFC 9421, appendix B.2, over our signature base."""

import base64
import hmac
import re
from urllib.parse import parse_qs

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sharegate.identify.signature import field_value, signature_base

# Appendix B.2: test-request and test-response.
URL = ("example.com", "/foo", "?param=Value&Pet=dog")
REQUEST_DIGEST = (
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJw"
    "ew==:"
)
RESPONSE_DIGEST = (
    "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgf"
    "LQ==:"
)
REQUEST = {
    "@method": "POST",
    "@authority": URL[0],
    "@path": URL[1],
    "@query": URL[2],
    "date": "Tue, 20 Apr 2021 02:07:55 GMT",
    "content-type": "application/json",
    "content-digest": REQUEST_DIGEST,
    "content-length": "18",
}
RESPONSE = {
    "@status": "200",
    "content-type": "application/json",
    "content-digest": RESPONSE_DIGEST,
    "content-length": "23",
}


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text):
    return int.from_bytes(unpadded(text), "big")


# Appendix B.1: the public halves (and the secrets, where signing is deterministic).
RSA_PSS = rsa.RSAPublicNumbers(
    number("AQAB"),
    number(
        "r4tmm3r20Wd_PbqvP1s2-QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct-Lh1GH45x28Rw3Ry53mm-oAXjyQ86"
        "OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHqgDsznjPFmTOtCEcN2Z1FpWgchwuYLPL-Wokq"
        "ltd11nqqzi-bJ9cvSKADYdUAAN5WUtzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4"
        "aOT9v6d-nb4bnNkQVklLQ3fVAvJm-xdDOp9LCNCN48V2pnDOkFV6-U9nV5oyc6XI2w"
    ),
).public_key()
ECC_P256 = ec.EllipticCurvePublicNumbers(
    number("qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA"),
    number("Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0"),
    ec.SECP256R1(),
).public_key()
ED25519 = Ed25519PublicKey.from_public_bytes(
    unpadded("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs")
)
ED25519_PRIVATE = Ed25519PrivateKey.from_private_bytes(
    unpadded("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU")
)
SHARED = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)


def rsa_pss_sha512(signature, base):
    pss = padding.PSS(padding.MGF1(hashes.SHA512()), salt_length=64)
    RSA_PSS.verify(signature, base, pss, hashes.SHA512())


def ecdsa_p256_sha256(signature, base):
    halves = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    ECC_P256.verify(encode_dss_signature(*halves), base, ec.ECDSA(hashes.SHA256()))


def hmac_sha256(signature, base):
    if not hmac.compare_digest(hmac.digest(SHARED, base, "sha256"), signature):
        raise InvalidSignature


# Per example: the message, how it is verified, its @signature-params, the component lines of the
# signature base as printed, and the signature as printed.
EXAMPLES = {
    "B.2.1": (
        REQUEST,
        rsa_pss_sha512,
        '();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"',
        [],
        (
            "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8U"
            "dx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJz"
            "sPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s"
            "++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q=="
        ),
    ),
    "B.2.2": (
        REQUEST,
        rsa_pss_sha512,
        (
            '("@authority" "content-digest" "@query-param";name="Pet")'
            ';created=1618884473;keyid="test-key-rsa-pss";tag="header-example"'
        ),
        [
            '"@authority": example.com',
            f'"content-digest": {REQUEST_DIGEST}',
            '"@query-param";name="Pet": dog',
        ],
        (
            "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7"
            "KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTla"
            "qwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVk"
            "SFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw=="
        ),
    ),
    "B.2.3": (
        REQUEST,
        rsa_pss_sha512,
        (
            '("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest"'
            ' "content-length");created=1618884473;keyid="test-key-rsa-pss"'
        ),
        [
            '"date": Tue, 20 Apr 2021 02:07:55 GMT',
            '"@method": POST',
            '"@path": /foo',
            '"@query": ?param=Value&Pet=dog',
            '"@authority": example.com',
            '"content-type": application/json',
            f'"content-digest": {REQUEST_DIGEST}',
            '"content-length": 18',
        ],
        (
            "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5"
            "p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aY"
            "A2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+Q"
            "IF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA=="
        ),
    ),
    "B.2.4": (
        RESPONSE,
        ecdsa_p256_sha256,
        (
            '("@status" "content-type" "content-digest" "content-length")'
            ';created=1618884473;keyid="test-key-ecc-p256"'
        ),
        [
            '"@status": 200',
            '"content-type": application/json',
            f'"content-digest": {RESPONSE_DIGEST}',
            '"content-length": 23',
        ],
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==",
    ),
    "B.2.5": (
        REQUEST,
        hmac_sha256,
        '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
        [
            '"date": Tue, 20 Apr 2021 02:07:55 GMT',
            '"@authority": example.com',
            '"content-type": application/json',
        ],
        "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
    ),
    "B.2.6": (
        REQUEST,
        ED25519.verify,
        (
            '("date" "@method" "@path" "@authority" "content-type" "content-length")'
            ';created=1618884473;keyid="test-key-ed25519"'
        ),
        [
            '"date": Tue, 20 Apr 2021 02:07:55 GMT',
            '"@method": POST',
            '"@path": /foo',
            '"@authority": example.com',
            '"content-type": application/json',
            '"content-length": 18',
        ],
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
    ),
}


def resolved(message, params):
    """Each covered component of an example's parameters, with its value in the message."""
    inner = params[1 : params.index(")")]
    for name, query_name in re.findall(r'"([^"]+)"(?:;name="([^"]+)")?', inner):
        if name == "@query-param":
            (value,) = parse_qs(message["@query"].removeprefix("?"))[query_name]
            yield f'"{name}";name="{query_name}"', value
        else:
            yield f'"{name}"', field_value(f" {message[name]}\t")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_base_is_the_one_printed_and_the_signature_verifies(name):
    message, verify, params, lines, signature = EXAMPLES[name]
    base = signature_base(list(resolved(message, params)), params)
    assert base.decode().split("\n") == [*lines, f'"@signature-params": {params}']
    verify(base64.b64decode(signature), base)
    with pytest.raises(InvalidSignature):
        verify(base64.b64decode(signature), base.replace(b"1618884473", b"1618884474"))


def test_ed25519_signs_b_2_6_to_the_same_bytes():
    message, _, params, _, signature = EXAMPLES["B.2.6"]
    base = signature_base(list(resolved(message, params)), params)
    assert base64.b64encode(ED25519_PRIVATE.sign(base)).decode() == signature
