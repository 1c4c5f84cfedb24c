"""The invented town: persons, families, homes, work and money, all from one seed.

**Everyone in it is invented.** Equal arguments give equal rows on every machine, so the demo and
the tests can name a person before a database exists.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sharegate.cli.demo import holdings
from sharegate.cli.demo.chance import Chance
from sharegate.cli.demo.families import Families
from sharegate.cli.demo.places import Surveyor
from sharegate.cli.demo.rows import ADULT, AS_OF, INCOME_YEARS, Person, Town, birthday

SEED = 809
PERSONS = 20_000


def invent_town(*, seed: int = SEED, persons: int = PERSONS) -> Town:
    """Invent a town of at least so many persons (whole households move in).

    Takes about a second for 20,000 persons. Pure: no clock, no files.
    """
    chance = Chance(seed)
    surveyor = Surveyor(chance)
    families = Families(chance, surveyor)
    families.settle(persons)
    adults = [person for person in families.persons if birthday(person.born, ADULT) <= AS_OF]
    companies = holdings.companies(chance, adults)
    properties = holdings.properties(chance, surveyor, families.households, adults)
    return Town(
        persons=tuple(families.persons),
        households=tuple(families.households),
        marriages=tuple(families.marriages()),
        properties=tuple(properties),
        transfers=tuple(holdings.transfers(chance, properties, adults)),
        incomes=tuple(holdings.incomes(chance, adults, companies)),
        companies=tuple(companies),
    )


@dataclass(frozen=True, slots=True)
class Applicant:
    """Someone who asked a department for something, and whose matter needs the others' answers."""

    id_number: str
    name: str
    household_no: str


@dataclass(frozen=True, slots=True)
class StoryPeople:
    """Whom the demo's story is about.

    Attributes:
        applicant: Applies for a subsistence allowance: married, owns property, earned little in
            each of the years on record.
        tenant: Applies for public rental housing: owns nothing, earned in each of the years.
    """

    applicant: Applicant
    tenant: Applicant


_LITTLE = 48_000
"""Yuan a year."""


def people_of_the_story(town: Town) -> StoryPeople:
    """Find the story's people: in the order of the register, the first whom it fits.

    Raises:
        LookupError: The town is too small to have them; 500 persons are plenty.
    """
    spouses = {
        number
        for marriage in town.marriages
        if marriage.status == "married"
        for number in (marriage.husband_id_number, marriage.wife_id_number)
    }
    owners = {certificate.owner_id_number for certificate in town.properties}
    years: dict[str, int] = {}
    best: dict[str, int] = {}
    for income in town.incomes:
        years[income.id_number] = years.get(income.id_number, 0) + 1
        best[income.id_number] = max(best.get(income.id_number, 0), int(income.gross))
    steady = [person for person in town.persons if years.get(person.id_number) == len(INCOME_YEARS)]
    poor = [person for person in steady if best[person.id_number] < _LITTLE]
    return StoryPeople(
        applicant=_first(
            person for person in poor if person.id_number in owners and person.id_number in spouses
        ),
        tenant=_first(person for person in steady if person.id_number not in owners),
    )


def _first(persons: Iterator[Person]) -> Applicant:
    person = next(persons, None)
    if person is None:
        raise LookupError("this town has nobody for the story; invent a larger one")
    return Applicant(person.id_number, person.name, person.household_no)
