"""A department known by its connection; the officer still proves himself with every request."""

import dataclasses
from uuid import UUID

import pytest
from msgspec.structs import replace

from sharegate.errors import Unauthenticated, Unproven
from sharegate.identify.identify import Identify
from sharegate.model.party import Certificate, Known
from tests.unit.identify.asking import (
    AUDIENCE,
    AUTHORITY,
    CIVIL_AFFAIRS,
    DAY,
    HOUSING,
    NOW,
    registry,
    with_header,
)

THUMBPRINT = "ab" * 32
SPIFFE = "spiffe://gov.example/department/civil-affairs"
SIGNATURE = ("Signature-Input", "Signature", "Content-Digest")


def room(**changes):
    certificates = {
        THUMBPRINT: Certificate("ca-tls", CIVIL_AFFAIRS.id, NOW - DAY, NOW + DAY),
        SPIFFE: Certificate("ca-spiffe", CIVIL_AFFAIRS.id, NOW - DAY, NOW + DAY),
        "old": Certificate("ca-old", CIVIL_AFFAIRS.id, NOW - 2 * DAY, NOW),
        "new": Certificate("ca-new", CIVIL_AFFAIRS.id, NOW + 1, NOW + DAY),
    }
    known = dataclasses.replace(registry(), **({"certificates": certificates} | changes))
    return Identify(known, authority=AUTHORITY, audience=AUDIENCE)


def unsigned(*peer, member=CIVIL_AFFAIRS, **changes):
    arrived = member.ask(**changes)
    for name in SIGNATURE:
        arrived = with_header(arrived, name, None)
    return replace(arrived, peer=peer)


def refused(arrived, made=None):
    with pytest.raises(Unauthenticated) as caught:
        (made or room())(arrived)
    return caught.value.reason


@pytest.mark.parametrize(
    ("peer", "key_id"),
    [
        ((THUMBPRINT,), "ca-tls"),
        (("cd" * 32, SPIFFE), "ca-spiffe"),
        ((THUMBPRINT, SPIFFE), "ca-tls"),
    ],
)
def test_a_registered_certificate_is_the_department(peer, key_id):
    caller = room()(unsigned(*peer)).caller
    assert (caller.consumer, caller.key_id, caller.known) == (
        "civil-affairs",
        key_id,
        Known.CHANNEL,
    )
    assert caller.officer == "officer-17"


def test_without_a_certificate_a_signature_is_needed_as_ever():
    assert refused(unsigned()) is Unproven.SIGNATURE_MISSING
    assert room()(CIVIL_AFFAIRS.ask()).caller.known is Known.SIGNED


@pytest.mark.parametrize(
    "peer", [("cd" * 32,), ("spiffe://gov.example/department/housing",), ("old",), ("new",)]
)
def test_a_certificate_that_is_not_registered_or_not_valid_now_is_nobodys(peer):
    assert refused(unsigned(*peer)) is Unproven.CERTIFICATE


def test_a_certificate_taken_from_the_registry_ends_with_the_next_request():
    assert refused(unsigned(THUMBPRINT), room(certificates={})) is Unproven.CERTIFICATE


def test_the_officer_must_be_of_the_connections_department():
    assert refused(unsigned(THUMBPRINT, member=HOUSING)) is Unproven.TOKEN_FOREIGN
    bare = with_header(unsigned(THUMBPRINT), "Authorization", None)
    assert refused(bare) is Unproven.TOKEN_MISSING


def test_a_signature_that_is_sent_counts_whatever_the_connection_is():
    signed = replace(CIVIL_AFFAIRS.ask(), peer=(THUMBPRINT,))
    assert room()(signed).caller.known is Known.SIGNED
    spoilt = with_header(signed, "Signature", HOUSING.ask().headers["signature"])
    assert refused(spoilt) is Unproven.SIGNATURE_WRONG
    other = replace(HOUSING.ask(), peer=(THUMBPRINT,))
    assert refused(other) is Unproven.CERTIFICATE  # housing's signature on civil affairs' line


def test_a_digest_that_is_sent_is_checked():
    arrived = with_header(
        unsigned(THUMBPRINT), "Content-Digest", HOUSING.ask(body=b"{}").headers["content-digest"]
    )
    assert refused(arrived) is Unproven.DIGEST_WRONG


def test_the_authority_is_checked_on_a_connection_too():
    assert refused(replace(unsigned(THUMBPRINT), authority="other")) is Unproven.SIGNATURE_WRONG


def test_each_request_of_a_connection_is_one_of_its_own():
    made = room()
    one = made(unsigned(THUMBPRINT))
    other = made(replace(unsigned(THUMBPRINT), exchange_id=UUID(int=9)))
    assert one.replay_key != other.replay_key
    assert len(one.replay_key) == 32


def test_a_revoked_officer_may_not_ask_however_he_comes():
    revoked = {"revoked_officers": frozenset({("civil-affairs", "officer-17")})}
    for arrived in (CIVIL_AFFAIRS.ask(), unsigned(THUMBPRINT)):
        assert refused(arrived, room(**revoked)) is Unproven.OFFICER_REVOKED
    elsewhere = {"revoked_officers": frozenset({("housing", "officer-17")})}
    assert room(**elsewhere)(CIVIL_AFFAIRS.ask())


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-Client-Cert",
        "X-SSL-Client-Verify",
        "X-Client-Cert",
        "Forwarded",
        "X-Sharegate-Department",
        "X-Forwarded-For",
    ],
)
def test_headers_that_claim_an_identity_change_nothing(name):
    claiming = with_header(unsigned(), name, "housing")
    assert refused(claiming) is Unproven.SIGNATURE_MISSING
    assert room()(with_header(CIVIL_AFFAIRS.ask(), name, "housing")) == room()(CIVIL_AFFAIRS.ask())


def test_posts_come_from_the_token():
    token = CIVIL_AFFAIRS.token(posts=["clerk", "section-chief"])
    assert room()(CIVIL_AFFAIRS.ask(token=token)).caller.posts == ("clerk", "section-chief")
    assert room()(CIVIL_AFFAIRS.ask()).caller.posts == ()
    for posts in (["Clerk"], ["a b"], [""], ["clerk"] * 17):
        assert (
            refused(CIVIL_AFFAIRS.ask(token=CIVIL_AFFAIRS.token(posts=posts)))
            is Unproven.TOKEN_WRONG
        )
