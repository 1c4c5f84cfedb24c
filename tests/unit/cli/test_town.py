"""The invented town: its numbers are well formed, its people make sense, and it repeats itself."""

import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sharegate.cli.demo.chance import Chance, Weighted
from sharegate.cli.demo.names import FAMILY_NAMES
from sharegate.cli.demo.numbers import (
    CREDIT_CODE_ALPHABET,
    credit_check_character,
    credit_code,
    id_check_character,
    id_number,
    organisation_check_character,
    phone,
)
from sharegate.cli.demo.places import Surveyor
from sharegate.cli.demo.rows import AS_OF, INCOME_YEARS, Person, Town, birthday
from sharegate.cli.demo.town import invent_town, people_of_the_story


@pytest.fixture(scope="module")
def town() -> Town:
    return invent_town()


@pytest.fixture(scope="module")
def people(town: Town) -> dict[str, Person]:
    return {person.id_number: person for person in town.persons}


def age_on(born: date, day: date) -> int:
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def digest(town: Town) -> str:
    rows = [getattr(town, name) for name in Town.__slots__]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


# -- numbers -----------------------------------------------------------------------------------


def id_remainder(number: str) -> int:
    """ISO 7064 MOD 11-2 as the standard puts it: double and add; a good number leaves 1."""
    remainder = 0
    for character in number:
        remainder = (remainder * 2 + (10 if character == "X" else int(character))) % 11
    return remainder


def credit_remainder(code: str) -> int:
    """ISO 7064-like MOD 31 with base 3, by Horner's rule from the right; a good code leaves 0."""
    remainder = 0
    for character in reversed(code[:17]):
        remainder = (remainder * 3 + CREDIT_CODE_ALPHABET.index(character)) % 31
    return (remainder + CREDIT_CODE_ALPHABET.index(code[17])) % 31


def test_check_characters_of_published_numbers() -> None:
    # From the standards' own examples and from codes companies print on their websites.
    assert id_check_character("11010519491231002") == "X"
    assert id_check_character("44052418800101001") == "4"
    assert organisation_check_character("D2143569") == "X"
    assert organisation_check_character("60003734") == "1"
    assert credit_check_character("91350100M000100Y4") == "3"
    assert credit_check_character("91110000600037341") == "L"


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.integers(1, 999))
@example(date(2000, 2, 29), 2)
def test_id_numbers_satisfy_mod_11_2(born: date, sequence: int) -> None:
    number = id_number("470102", born, sequence)
    assert len(number) == 18
    assert number[6:14] == born.strftime("%Y%m%d").zfill(8)
    assert id_remainder(number) == 1


@given(st.integers(0, 10**8 - 1), st.integers(0, 10**8 - 1))
def test_credit_codes_satisfy_mod_31_and_differ(one: int, other: int) -> None:
    code = credit_code("470102", one)
    assert len(code) == 18
    assert set(code) <= set(CREDIT_CODE_ALPHABET)
    assert credit_remainder(code) == 0
    assert (credit_code("470102", other) == code) is (one == other)


@given(st.integers(0, 10**8 - 1), st.integers(0, 10**8 - 1))
def test_phone_numbers_are_eleven_digits_and_differ(one: int, other: int) -> None:
    assert phone(one).isdecimal()
    assert len(phone(one)) == 11
    assert phone(one).startswith("154")
    assert (phone(one) == phone(other)) is (one == other)


def test_phone_numbers_repeat_only_after_the_whole_block() -> None:
    # A factor shared with 10^8 would show at a half or a fifth of it.
    assert len({phone(nth * 10**8 // 2) for nth in range(2)}) == 2
    assert len({phone(nth * 10**8 // 5) for nth in range(5)}) == 5


# -- chance ------------------------------------------------------------------------------------


@given(st.integers(), st.integers(1, 1000))
def test_chance_stays_inside(seed: int, end: int) -> None:
    chance = Chance(seed)
    assert 0 <= chance.below(end) < end
    assert -end <= chance.between(-end, end) <= end
    first, last = date(2020, 1, 1), date(2020, 1, 3)
    assert first <= chance.day(first, last) <= last
    assert chance.day(last, first) == last


def test_chance_follows_the_weights() -> None:
    chance = Chance(1)
    drawn = Counter(chance.weigh(Weighted.of({"a": 1, "b": 8, "c": 1})) for _ in range(5000))
    assert 0.77 < drawn["b"] / 5000 < 0.83
    assert 0.8 < drawn["a"] / drawn["c"] < 1.25


def test_no_address_is_given_out_twice() -> None:
    surveyor = Surveyor(Chance(3))
    first = surveyor.place()
    surveyor._chance = Chance(3)  # draws the same address once more
    assert surveyor.place().address != first.address


# -- the town repeats itself -------------------------------------------------------------------


def test_the_same_seed_gives_the_same_town_in_another_process() -> None:
    # Another hash seed: the order of a set must not have leaked into a row.
    script = (
        "import hashlib; from sharegate.cli.demo.town import invent_town;"
        "from sharegate.cli.demo.rows import Town; town = invent_town(seed=5, persons=600);"
        "rows = [getattr(town, name) for name in Town.__slots__];"
        "print(hashlib.sha256(repr(rows).encode()).hexdigest())"
    )
    said = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONIOENCODING": "utf-8"},
    ).stdout
    assert said.strip() == digest(invent_town(seed=5, persons=600))


def test_another_seed_gives_another_town() -> None:
    assert digest(invent_town(seed=5, persons=600)) != digest(invent_town(seed=6, persons=600))


@pytest.mark.parametrize("seed", range(12))
def test_small_towns_of_any_seed_have_the_story(seed: int) -> None:
    small = invent_town(seed=seed, persons=1500)
    assert len(small.persons) >= 1500
    story = people_of_the_story(small)
    assert story.applicant != story.tenant


def test_a_town_too_small_for_the_story_says_so() -> None:
    with pytest.raises(LookupError, match="larger"):
        people_of_the_story(invent_town(seed=1, persons=1))


# -- persons and households --------------------------------------------------------------------


def test_every_person_is_distinct_and_numbered_by_the_standard(town: Town) -> None:
    assert len(town.persons) >= 20_000
    assert len({person.id_number for person in town.persons}) == len(town.persons)
    phones = [person.phone for person in town.persons if person.phone is not None]
    assert len(set(phones)) == len(phones)
    for person in town.persons:
        assert id_remainder(person.id_number) == 1
        assert person.id_number[6:14] == person.born.strftime("%Y%m%d")
        assert int(person.id_number[16]) % 2 == (1 if person.sex == "男" else 0)
        assert person.id_number.startswith("47"), "a province that exists has living people"
        assert person.born <= AS_OF
        assert (person.phone is None) is (age_on(person.born, AS_OF) < 10)


def test_about_one_number_in_eleven_ends_in_x(town: Town) -> None:
    ends = Counter(person.id_number[17] for person in town.persons)
    assert set(ends) == set("0123456789X")
    assert all(0.07 < count / len(town.persons) < 0.11 for count in ends.values())


def test_names_and_ages_are_not_absurd(town: Town) -> None:
    number = len(town.persons)
    first = Counter(person.name[0] for person in town.persons)
    assert {name for name, _ in first.most_common(3)} == {"王", "李", "张"}
    assert 0.05 < first["王"] / number < 0.12
    compound = [name for name in FAMILY_NAMES.things if len(name) == 2]
    assert sum(person.name.startswith(tuple(compound)) for person in town.persons) > 20
    assert all(2 <= len(person.name) <= 4 for person in town.persons)
    men = sum(person.sex == "男" for person in town.persons)
    assert 0.46 < men / number < 0.54
    ages = [age_on(person.born, AS_OF) for person in town.persons]
    assert max(ages) < 100
    assert 0.12 < sum(age < 18 for age in ages) / number < 0.3
    assert 0.12 < sum(age >= 60 for age in ages) / number < 0.35


def test_households_hold_exactly_their_members(town: Town, people: dict[str, Person]) -> None:
    members = Counter(person.household_no for person in town.persons)
    assert len({household.household_no for household in town.households}) == len(town.households)
    assert members.keys() == {household.household_no for household in town.households}
    assert len({household.address for household in town.households}) == len(town.households)
    for household in town.households:
        assert household.members == members[household.household_no] <= 8
        head = people[household.head_id_number]
        assert head.household_no == household.household_no
        assert age_on(head.born, AS_OF) >= 18
        assert household.district in household.address
    homes = {household.household_no: household for household in town.households}
    for person in town.persons:
        home = homes[person.household_no]
        assert (person.address, person.district) == (home.address, home.district)


# -- marriages ---------------------------------------------------------------------------------


def test_spouses_exist_and_were_of_legal_age(town: Town, people: dict[str, Person]) -> None:
    numbers = {marriage.certificate_no for marriage in town.marriages}
    assert len(numbers) == len(town.marriages)
    for marriage in town.marriages:
        husband = people[marriage.husband_id_number]
        wife = people[marriage.wife_id_number]
        assert (husband.sex, wife.sex) == ("男", "女")
        assert birthday(husband.born, 22) <= marriage.registered_on < AS_OF
        assert birthday(wife.born, 20) <= marriage.registered_on
        assert str(marriage.registered_on.year) in marriage.certificate_no
        if marriage.status == "married":
            assert marriage.ended_on is None
            assert husband.household_no == wife.household_no
        else:
            assert marriage.status == "divorced"
            assert marriage.ended_on is not None
            assert marriage.registered_on < marriage.ended_on < AS_OF
            assert husband.household_no != wife.household_no


def test_nobody_is_married_twice_at_once(town: Town) -> None:
    spells: defaultdict[str, list[tuple[date, date]]] = defaultdict(list)
    for marriage in town.marriages:
        for number in (marriage.husband_id_number, marriage.wife_id_number):
            spells[number].append((marriage.registered_on, marriage.ended_on or date.max))
    for several in spells.values():
        several.sort()
        for (_, ended), (began, _) in pairwise(several):
            assert ended < began
    assert sum(len(several) > 1 for several in spells.values()) > 50, "some married again"
    divorced = sum(marriage.status == "divorced" for marriage in town.marriages)
    assert 0.05 < divorced / len(town.marriages) < 0.25


def test_children_have_a_mother_of_a_plausible_age(town: Town) -> None:
    at_home: defaultdict[str, list[Person]] = defaultdict(list)
    for person in town.persons:
        at_home[person.household_no].append(person)
    for family in at_home.values():
        for child in (one for one in family if age_on(one.born, AS_OF) < 18):
            gaps = [age_on(one.born, child.born) for one in family if one is not child]
            assert any(18 <= gap <= 55 for gap in gaps), family


# -- properties --------------------------------------------------------------------------------


def test_owners_are_adult_residents(town: Town, people: dict[str, Person]) -> None:
    assert len({one.certificate_no for one in town.properties}) == len(town.properties)
    for certificate in town.properties:
        owner = people[certificate.owner_id_number]
        assert owner.name == certificate.owner_name
        assert birthday(owner.born, 18) <= certificate.registered_on < AS_OF
        assert f"（{certificate.registered_on.year}）" in certificate.certificate_no
        assert 10 <= certificate.area_m2 <= 350
    by_household = Counter(people[one.owner_id_number].household_no for one in town.properties)
    owning = len(by_household) / len(town.households)
    assert 0.6 < owning < 0.85, "some households own nothing"
    assert sum(count > 1 for count in by_household.values()) > 500
    assert 0.15 < sum(one.mortgaged for one in town.properties) / len(town.properties) < 0.5
    assert {one.use for one in town.properties} == {"住宅", "车库", "商业", "办公"}


def test_transfers_lead_to_the_present_owner(town: Town, people: dict[str, Person]) -> None:
    certificates = {one.certificate_no: one for one in town.properties}
    assert len({one.transfer_no for one in town.transfers}) == len(town.transfers) > 2000
    chains: defaultdict[str, list[tuple[date, str, str]]] = defaultdict(list)
    for transfer in town.transfers:
        for number in (transfer.seller_id_number, transfer.buyer_id_number):
            assert birthday(people[number].born, 18) <= transfer.transferred_on
        assert transfer.seller_id_number != transfer.buyer_id_number
        assert 20_000 < transfer.price < 10_000_000
        chains[transfer.certificate_no].append(
            (transfer.transferred_on, transfer.seller_id_number, transfer.buyer_id_number)
        )
    for number, chain in chains.items():
        chain.sort()
        last = chain[-1]
        assert last[2] == certificates[number].owner_id_number
        assert last[0] < certificates[number].registered_on
        for (_, _, buyer), (_, seller, _) in pairwise(chain):
            assert buyer == seller
    assert any(len(chain) > 1 for chain in chains.values())


# -- companies and incomes ---------------------------------------------------------------------


def test_companies_are_numbered_by_the_standard(town: Town, people: dict[str, Person]) -> None:
    assert len({company.credit_code for company in town.companies}) == len(town.companies) > 1000
    assert len({company.name for company in town.companies}) == len(town.companies)
    for company in town.companies:
        assert credit_remainder(company.credit_code) == 0
        weights = (3, 7, 9, 10, 5, 8, 4, 2)
        organisation = company.credit_code[8:17]
        total = sum(int(c, 36) * w for c, w in zip(organisation[:8], weights, strict=True))
        check = {"X": 10}.get(organisation[8]) or int(organisation[8], 10)
        assert (total + check) % 11 == 0
        representative = people[company.representative_id_number]
        assert representative.name == company.representative_name
        assert birthday(representative.born, 18) <= company.registered_on < AS_OF


def test_incomes_come_from_companies_that_existed(town: Town, people: dict[str, Person]) -> None:
    founded = {company.name: company.registered_on for company in town.companies}
    assert len({(one.id_number, one.year) for one in town.incomes}) == len(town.incomes)
    for income in town.incomes:
        assert income.year in INCOME_YEARS
        assert founded[income.employer] <= date(income.year, 1, 1)
        assert 18 < income.year - people[income.id_number].born.year < 60
        assert income.gross > 0
    assert {one.year for one in town.incomes} == set(range(2021, 2026))
    median = sorted(one.gross for one in town.incomes)[len(town.incomes) // 2]
    assert 40_000 < median < 90_000
    largest = Counter(one.employer for one in town.incomes).most_common(1)[0][1]
    assert largest < len(town.incomes) / 10


def test_tax_follows_the_brackets(town: Town) -> None:
    edges = (0, 36_000, 144_000, 300_000, 420_000, 660_000, 960_000, 10**12)
    rates = (3, 10, 20, 25, 30, 35, 45)
    brackets = [(low, high, rate) for (low, high), rate in zip(pairwise(edges), rates, strict=True)]
    for income in town.incomes:
        taxable = max(income.gross * Decimal("0.825") - 60_000, Decimal(0))
        owed = sum(
            (
                max(min(taxable, Decimal(high)) - low, Decimal(0)) * rate / 100
                for low, high, rate in brackets
            ),
            Decimal(0),
        )
        assert abs(income.tax_paid - owed) <= Decimal("0.02")


# -- the story ---------------------------------------------------------------------------------


def test_the_story_has_its_people(town: Town) -> None:
    story = people_of_the_story(town)
    applicant, tenant = story.applicant, story.tenant
    owners = Counter(one.owner_id_number for one in town.properties)
    assert owners[applicant.id_number] >= 1
    assert owners[tenant.id_number] == 0
    for one in (applicant, tenant):
        grosses = [income.gross for income in town.incomes if income.id_number == one.id_number]
        assert len(grosses) == 5
        assert any(
            (person.id_number, person.name, person.household_no)
            == (one.id_number, one.name, one.household_no)
            for person in town.persons
        )
    assert any(
        marriage.status == "married"
        and applicant.id_number in (marriage.husband_id_number, marriage.wife_id_number)
        for marriage in town.marriages
    )
