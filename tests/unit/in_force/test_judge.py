"""Which sets may be put into force: signed by all who must, never older, never half."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.note import SignerKey
from sharegate.in_force.memory import SetMemory
from sharegate.model.signed import REGISTRY_SET, ROOT_SET, Fault, SetRefused, state
from tests.unit.in_force.signed_site import administrators, key, signed_site

STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x2a" * 32)


@pytest.fixture
def site(tmp_path):
    return signed_site(tmp_path)


@pytest.fixture
def now(site):
    """What is in force, and is remembered."""
    rules = site.judge().start(site.found(), {})
    site.memory().remember({name: one.remembered() for name, one in rules.sets.items()})
    return rules


def judged(site, now):
    return site.judge().again(site.found(), now, site.memory().recall())


def faults(judged):
    return {each.name: each.why.fault for each in judged.refused}


def test_what_all_have_signed_is_in_force(now):
    assert set(now.sets) == {REGISTRY_SET, ROOT_SET, "civil-affairs", "housing", "tax"}
    assert {one.statement.version for one in now.sets.values()} == {1}
    assert now.sets["tax"].signers == ("tax",)
    assert now.sets[ROOT_SET].signers == ("administrator-one", "administrator-two")


def test_nothing_changed_is_nothing_to_judge(site, now):
    assert judged(site, now) == type(judged(site, now))(None, {}, ())


def test_a_signed_change_is_accepted_and_only_it(site, now):
    site.change("tax", "tax-001,allow", "tax-001,deny", "grants.csv")
    site.change("tax", "id_number year gross,,,10,,channel,,,PIA-2025-TAX001", ",,,,,,,,")
    site.sign("tax")
    got = judged(site, now)
    assert got.refused == ()
    assert set(got.accepted) == {"tax"}
    assert got.rules.sets["tax"].statement.version == 2
    assert got.rules.rule_set.hash != now.rule_set.hash
    assert got.rules.sets["housing"].found is now.sets["housing"].found


# --- twenty ways not to be in force --------------------------------------------------------------


def wider(site):
    site.change("tax", "10,,channel,,,PIA-2025-TAX001", "20,,channel,,,PIA-2025-TAX001")


def unsigned(site):
    wider(site)
    site.note("tax").unlink()


def wrong_signer(site):
    wider(site)
    site.sign("tax", SignerKey("stranger", STRANGER))


def right_name_wrong_key(site):
    wider(site)
    site.sign("tax", SignerKey("tax", STRANGER))


def signed_by_another_provider(site):
    wider(site)
    site.sign("tax", key("housing"))


def one_byte_changed(site):
    wider(site)


def one_byte_of_the_note_changed(site):
    note = site.note("tax")
    data = bytearray(note.read_bytes())
    data[-12] ^= 1
    note.write_bytes(data)


def note_of_another_provider(site):
    wider(site)
    site.note("tax").write_bytes(site.note("housing").read_bytes())


def note_of_another_provider_that_we_signed_too(site):
    site.sign("housing", key("housing"), key("tax"))
    site.note("tax").write_bytes(site.note("housing").read_bytes())
    site.sign("housing")


def same_version_other_files(site):
    wider(site)
    site.sign("tax", version=1)


def an_extra_file(site):
    (site.policies / "tax" / "grants2.csv").write_text("id\n")


def an_extra_file_that_is_signed(site):
    an_extra_file(site)
    site.sign("tax")


def a_file_is_gone(site):
    (site.policies / "tax" / "grants.csv").unlink()


def a_needed_file_is_not_signed(site):
    a_file_is_gone(site)
    site.sign("tax")


def the_folder_is_gone(site):
    for path in (site.policies / "tax").iterdir():
        path.unlink()
    (site.policies / "tax").rmdir()


def a_misspelt_effect(site):
    site.change("tax", "tax-005,deny", "tax-005,Deny")
    site.sign("tax")


def a_missing_column(site):
    site.change("tax", "tax-005,deny,*,*", "tax-005,deny,*")
    site.sign("tax")


def a_newline_in_a_field(site):
    site.change("tax", "tax-005,deny,*", 'tax-005,deny,"*\nhousing"')
    site.sign("tax")


def an_unknown_key(site):
    site.change("tax", "version = 1", "version = 1\nsecret = true", "resources.toml")
    site.sign("tax")


def an_endless_nesting(site):
    site.change("tax", "version = 1", f"version = 1\nx = {'[' * 5000}", "resources.toml")
    site.sign("tax")


def no_text_at_all(site):
    (site.policies / "tax" / "grants.csv").write_bytes(b"\xff\xfe\x00")
    site.sign("tax")


def a_file_too_large_to_read(site):
    with (site.policies / "tax" / "grants.csv").open("r+b") as file:
        file.truncate(64 * 1024 * 1024 + 1)


def a_folder_where_a_file_should_be(site):
    a_file_is_gone(site)
    (site.policies / "tax" / "grants.csv").mkdir()


POISON = {
    unsigned: Fault.UNSIGNED,
    wrong_signer: Fault.FOREIGN,
    right_name_wrong_key: Fault.FOREIGN,
    signed_by_another_provider: Fault.FOREIGN,
    one_byte_changed: Fault.ALTERED,
    one_byte_of_the_note_changed: Fault.ALTERED,
    note_of_another_provider: Fault.FOREIGN,
    note_of_another_provider_that_we_signed_too: Fault.MISPLACED,
    same_version_other_files: Fault.REUSED,
    an_extra_file: Fault.ALTERED,
    an_extra_file_that_is_signed: Fault.FAULTY,
    a_file_is_gone: Fault.ALTERED,
    a_needed_file_is_not_signed: Fault.FAULTY,
    the_folder_is_gone: Fault.UNSIGNED,
    a_misspelt_effect: Fault.FAULTY,
    a_missing_column: Fault.FAULTY,
    a_newline_in_a_field: Fault.FAULTY,
    an_unknown_key: Fault.FAULTY,
    an_endless_nesting: Fault.FAULTY,
    no_text_at_all: Fault.FAULTY,
    a_file_too_large_to_read: Fault.FAULTY,
    a_folder_where_a_file_should_be: Fault.FAULTY,
}


@pytest.mark.parametrize(("poison", "fault"), POISON.items(), ids=lambda each: each.__name__
                         if callable(each) else each)  # fmt: skip
def test_a_poisoned_set_is_refused_and_nothing_changes(site, now, poison, fault):
    poison(site)
    got = judged(site, now)
    assert got.rules is None
    assert faults(got)["tax"] is fault, got.refused
    assert set(faults(got)) == {"tax"} or poison is note_of_another_provider_that_we_signed_too
    with pytest.raises(SetRefused):
        site.judge().start(site.found(), site.memory().recall())


@pytest.mark.parametrize("poison", [unsigned, a_misspelt_effect, one_byte_changed])
def test_a_poisoned_set_keeps_nobody_elses_revocation_up(site, now, poison):
    poison(site)
    site.change("housing", "allow", "deny")
    site.sign("housing", version=7)
    site.change("civil-affairs", "version = 1", "version = 2", "resources.toml")
    site.sign("civil-affairs")
    got = judged(site, now)
    assert "tax" in faults(got)
    assert "civil-affairs" in got.accepted
    assert got.rules.sets["tax"] == now.sets["tax"]


def test_an_older_version_never_comes_back(site, now):
    folder = site.policies / "tax"
    old = {path: path.read_bytes() for path in folder.iterdir()}
    wider(site)
    site.sign("tax")
    newer = judged(site, now)
    site.memory().remember({name: one.remembered() for name, one in newer.accepted.items()})
    for path, content in old.items():
        path.write_bytes(content)
    assert faults(judged(site, newer.rules)) == {"tax": Fault.OLDER}
    with pytest.raises(SetRefused) as refused:
        site.judge().start(site.found(), site.memory().recall())
    assert refused.value.fault is Fault.OLDER


def test_a_set_that_another_gateway_replaced_goes_on_until_the_new_one_is_seen(site, now):
    wider(site)
    site.sign("tax")
    ahead = judged(site, now)
    site.memory().remember({"tax": ahead.accepted["tax"].remembered()})
    site.change("tax", "20,,channel,,,PIA-2025-TAX001", "10,,channel,,,PIA-2025-TAX001")
    site.sign("tax", version=1)  # this gateway's own folder is behind, and as it was
    site.write_registry(2)
    site.sign_registry()
    got = judged(site, now)
    assert set(got.accepted) == {REGISTRY_SET}


# --- administrators -----------------------------------------------------------------------------


def test_too_few_administrators_are_none(site, now):
    purposes = site.policies / "purposes.csv"
    purposes.write_text(purposes.read_text() + "survey,调查,Survey,norm,《办法》\n")
    site.sign_root(*administrators(1))
    assert faults(judged(site, now)) == {ROOT_SET: Fault.FOREIGN}
    site.sign_root(*administrators(2))
    assert set(judged(site, now).accepted) == {ROOT_SET}
    site.write_registry(2)
    site.sign_registry(*administrators(1))
    assert faults(judged(site, now)) == {REGISTRY_SET: Fault.FOREIGN}


def test_one_administrator_who_signs_twice_is_one(site, now):
    site.write_registry(2)
    one = administrators(1)[0]
    site.sign_registry(one, one)
    note = site.registry.with_suffix(".note")
    line = note.read_bytes().splitlines(keepends=True)[-1]
    note.write_bytes(note.read_bytes() + line)
    assert faults(judged(site, now)) == {REGISTRY_SET: Fault.FOREIGN}


def test_a_provider_is_no_administrator(site, now):
    site.write_registry(2)
    site.sign_registry(key("tax"), key("housing"))
    assert faults(judged(site, now)) == {REGISTRY_SET: Fault.FOREIGN}


def test_the_registry_says_the_version_that_was_signed(site, now):
    site.write_registry(3)
    site.sign_registry()
    note = site.registry.with_suffix(".note")
    content = {site.registry.name: site.registry.read_bytes()}
    site._sign(note, state(REGISTRY_SET, 5, content), administrators(2))
    assert faults(judged(site, now)) == {REGISTRY_SET: Fault.FAULTY}
    site.registry.write_text(site.registry.read_text().replace("version = 3", "version = 2"))
    assert faults(judged(site, now)) == {REGISTRY_SET: Fault.ALTERED}
    note.unlink()
    assert faults(judged(site, now)) == {REGISTRY_SET: Fault.UNSIGNED}


def test_a_purpose_can_be_withdrawn_while_grants_name_it(site, now):
    purposes = site.policies / "purposes.csv"
    head, *lines = purposes.read_text().splitlines()
    code, zh, en, *_ = next(one for one in lines if "deed-tax" in one).split(",")
    kept = [one for one in lines if not one.startswith(code)]
    purposes.write_text("\n".join([head, *kept, f"{code},{zh},{en},,", ""]))
    site.sign_root()
    got = judged(site, now)
    assert faults(got) == {}
    assert got.rules.rule_set.catalogue.purposes[code].legal_bases == {}


# --- keys and owners ----------------------------------------------------------------------------


def test_a_policy_key_is_changed_with_overlap(site, now):
    fresh = key("tax", 1)
    site.owners["tax"] = [key("tax"), fresh]
    site.write_registry(2)
    site.sign_registry()
    both = judged(site, now).rules
    site.sign("tax", key("tax"), fresh)  # the same files and version, one more line
    both = judged(site, both).rules
    site.owners["tax"] = [fresh]
    site.write_registry(3)
    site.sign_registry()
    assert judged(site, both).rules.sets["tax"].signers == ("tax",)


def test_a_registry_without_the_key_that_signed_what_is_in_force_is_refused(site, now):
    site.owners["tax"] = [key("tax", 1)]
    site.write_registry(2)
    site.sign_registry()
    got = judged(site, now)
    assert faults(got) == {REGISTRY_SET: Fault.FAULTY}
    assert "tax" in got.refused[0].why.place


def test_a_provider_without_any_key_is_withdrawn(site, now):
    site.owners["tax"] = []
    site.write_registry(2)
    site.sign_registry()
    got = judged(site, now)
    assert "tax" not in got.rules.sets
    assert not [each for each in got.rules.rule_set.catalogue.resources if each[0] == "tax"]
    site.memory().remember({name: one.remembered() for name, one in got.accepted.items()})
    assert faults(judged(site, got.rules)) == {"tax": Fault.FOREIGN}
    # A restart in the middle of that emergency: nobody else has to wait for the folder to go.
    assert "tax" not in site.judge().start(site.found(), site.memory().recall()).sets
    the_folder_is_gone(site)
    assert judged(site, got.rules).refused == ()
    assert "tax" not in site.judge().start(site.found(), site.memory().recall()).sets


def test_one_key_does_not_sign_for_two_departments(site, now):
    shared = SignerKey("housing", key("tax").private_key)
    site.owners["housing"] = [key("housing"), shared]
    site.write_registry(2)
    site.sign_registry()
    assert faults(judged(site, now)) == {REGISTRY_SET: Fault.FAULTY}


def test_every_joint_owner_signs_also_the_change_that_drops_it(site, now):
    site.change("tax", "version = 1", 'version = 1\njoint_owners = ["housing"]', "resources.toml")
    site.sign("tax")
    assert faults(judged(site, now)) == {"tax": Fault.FOREIGN}
    site.sign("tax", key("tax"), key("housing"))
    joint = judged(site, now)
    assert joint.accepted["tax"].owners == ("housing", "tax")
    site.memory().remember({name: one.remembered() for name, one in joint.accepted.items()})
    site.change("tax", 'joint_owners = ["housing"]\n', "", "resources.toml")
    site.sign("tax")
    assert faults(judged(site, joint.rules)) == {"tax": Fault.FOREIGN}
    with pytest.raises(SetRefused):  # nor by a restart
        site.judge().start(site.found(), site.memory().recall())
    site.sign("tax", key("tax"), key("housing"))
    assert judged(site, joint.rules).accepted["tax"].owners == ("tax",)


def test_the_joint_owner_alone_does_not_change_it(site, now):
    site.change("tax", "version = 1", 'version = 1\njoint_owners = ["housing"]', "resources.toml")
    site.sign("tax", key("housing"))
    assert faults(judged(site, now)) == {"tax": Fault.FOREIGN}


# --- strays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["root", "registry", "nobody", "税务"])
def test_a_folder_of_nobody_is_refused_and_holds_nobody_up(site, now, name):
    (site.policies / name).mkdir()
    (site.policies / name / "grants.csv").write_text("id\n")
    wider(site)
    site.sign("tax")
    got = judged(site, now)
    assert set(got.accepted) == {"tax"}
    assert [each.name.rstrip("/") for each in got.refused] == [name]


def test_what_is_for_people_needs_no_signature(site, now):
    (site.policies / "README.md").write_text("另一句话\n")
    (site.policies / "tax" / ".grants.csv.swp").write_text("x")
    assert judged(site, now).refused == ()


def test_a_source_that_is_not_configured_is_refused(site, now):
    site.change("tax", 'source = "tax"', 'source = "elsewhere"', "resources.toml")
    site.sign("tax")
    assert faults(judged(site, now)) == {"tax": Fault.FAULTY}


def test_the_memory_is_of_toml_and_survives(tmp_path, site, now):
    memory = SetMemory(tmp_path / "versions.toml")
    assert memory.recall()["tax"].version == 1
    assert memory.recall()["tax"].owners == ("tax",)
