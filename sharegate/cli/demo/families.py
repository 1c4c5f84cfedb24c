"""Who lives with whom, and who is or was married to whom.

Households come in seven shapes. Every spouse is a resident with a household of their own or in
common; a divorced spouse lives elsewhere. Marriages begin after both legal ages (22 and 20), and
children are born into a marriage, to mothers of 20 … 43.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta

from sharegate.cli.demo.chance import Chance, Weighted
from sharegate.cli.demo.names import FAMILY_NAMES, given_name
from sharegate.cli.demo.numbers import id_number, phone
from sharegate.cli.demo.places import DISTRICTS, District, Place, Surveyor
from sharegate.cli.demo.rows import AS_OF, Household, Marriage, Person, birthday

MAN, WOMAN = "男", "女"
HUSBAND_AGE, WIFE_AGE = 22, 20

_ETHNICITIES = Weighted.of(
    {"汉族": 940, "土家族": 16, "苗族": 14, "壮族": 9, "回族": 9, "满族": 7, "侗族": 5}
)
_AGES_ALONE = Weighted.of({(20, 34): 55, (35, 59): 15, (60, 92): 30})
_CHILDREN = {
    "before 1980": Weighted.of({1: 15, 2: 50, 3: 35}),
    "one child": Weighted.of({1: 84, 2: 16}),
    "two children": Weighted.of({1: 55, 2: 40, 3: 5}),
}
_PHONE_AGE = 10


@dataclass(slots=True)
class _Home:
    """A household while people are still moving in."""

    number: str
    place: Place
    family: list[Person] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Bond:
    """A marriage before the certificates are numbered by date."""

    husband: Person
    wife: Person
    since: date
    ended: date | None
    district: District


class Families:
    """The civil register while it is being filled, one household after another."""

    def __init__(self, chance: Chance, surveyor: Surveyor) -> None:
        self._chance = chance
        self._surveyor = surveyor
        self._taken: set[str] = set()
        self._bonds: list[_Bond] = []
        self._opened = 0
        self._shapes = Weighted.of({
            self._alone: 20,
            self._couple_alone: 11,
            self._old_couple: 12,
            self._couple_with_children: 34,
            self._three_generations: 14,
            self._single_parent: 5,
            self._remarried: 4,
        })  # fmt: skip
        self.persons: list[Person] = []
        self.households: list[Household] = []

    def settle(self, persons: int) -> None:
        """Add whole households until at least so many persons live in the town."""
        while len(self.persons) < persons:
            self._chance.weigh(self._shapes)()

    def marriages(self) -> list[Marriage]:
        """Number the certificates by district and year, in the order of their days."""
        serials: Counter[tuple[str, int]] = Counter()
        certificates: list[Marriage] = []
        for bond in sorted(self._bonds, key=lambda bond: bond.since):
            book = (bond.district.code, bond.since.year)
            serials[book] += 1
            certificates.append(
                Marriage(
                    certificate_no=f"J{book[0]}-{book[1]}-{serials[book]:06d}",
                    husband_id_number=bond.husband.id_number,
                    wife_id_number=bond.wife.id_number,
                    registered_on=bond.since,
                    office=f"{bond.district.name}民政局婚姻登记处",
                    status="married" if bond.ended is None else "divorced",
                    ended_on=bond.ended,
                )
            )
        return certificates

    # -- the shapes ----------------------------------------------------------------------------

    def _alone(self) -> None:
        home = self._open()
        youngest, oldest = self._chance.weigh(_AGES_ALONE)
        sex = WOMAN if self._chance.happens(0.65 if youngest >= 60 else 0.45) else MAN  # noqa: PLR2004
        self._person(home, sex, self._born(youngest, oldest))
        self._close(home)

    def _couple_alone(self) -> None:
        home = self._open()
        self._couple(home, 24, 38)
        self._close(home)

    def _old_couple(self) -> None:
        home = self._open()
        self._couple(home, 56, 86)
        self._close(home)

    def _couple_with_children(self) -> None:
        home = self._open()
        bond = self._couple(home, 27, 52)
        self._children(home, bond)
        self._close(home)

    def _three_generations(self) -> None:
        home = self._open()
        bond = self._couple(home, 28, 48)
        self._children(home, bond)
        self._parents(home, bond.husband)
        self._close(home)

    def _single_parent(self) -> None:
        home = self._open()
        sex = WOMAN if self._chance.happens(0.65) else MAN
        parent = self._person(home, sex, self._born(30, 50))
        bond = self._former_marriage(parent, AS_OF)
        if bond is not None:
            self._children(home, bond)
        self._close(home)

    def _remarried(self) -> None:
        home = self._open()
        bond = self._couple(home, 36, 60)
        one = bond.husband if self._chance.happens(0.5) else bond.wife
        self._former_marriage(one, bond.since)
        self._children(home, bond)
        self._close(home)

    # -- people --------------------------------------------------------------------------------

    def _born(self, youngest: int, oldest: int) -> date:
        """Draw a birthday of someone who is this old now, give or take nothing."""
        return self._chance.day(
            birthday(AS_OF, -oldest - 1) + timedelta(days=1), birthday(AS_OF, -youngest)
        )

    def _person(
        self,
        home: _Home,
        sex: str,
        born: date,
        *,
        family_name: str | None = None,
        ethnicity: str | None = None,
    ) -> Person:
        """Register a newcomer in this home; ID numbers and telephone numbers never repeat."""
        chance = self._chance
        # The number keeps the district of the first registration, also after a move.
        code = home.place.district.code if chance.happens(0.85) else chance.pick(DISTRICTS).code
        while True:
            number = id_number(code, born, 2 * chance.below(499) + (1 if sex == MAN else 2))
            if number not in self._taken:
                self._taken.add(number)
                break
        person = Person(
            id_number=number,
            name=(family_name or chance.weigh(FAMILY_NAMES)) + given_name(chance, sex, born.year),
            sex=sex,
            born=born,
            ethnicity=ethnicity or chance.weigh(_ETHNICITIES),
            phone=phone(len(self.persons)) if birthday(born, _PHONE_AGE) <= AS_OF else None,
            address=home.place.address,
            district=home.place.district.name,
            household_no=home.number,
        )
        self.persons.append(person)
        home.family.append(person)
        return person

    def _couple(self, home: _Home, youngest: int, oldest: int) -> _Bond:
        """Two people of one home, married; the youngest husband possible is 24."""
        husband = self._person(home, MAN, self._born(youngest, oldest))
        wife = self._person(home, WOMAN, self._wife_born(husband.born))
        first = _legal_day(husband.born, wife.born)
        since = self._chance.day(first, min(birthday(first, 8), AS_OF - timedelta(days=30)))
        bond = _Bond(husband, wife, since, None, home.place.district)
        self._bonds.append(bond)
        return bond

    def _wife_born(self, husband_born: date) -> date:
        born = self._chance.day(birthday(husband_born, -3), birthday(husband_born, 4))
        return min(born, birthday(AS_OF, -WIFE_AGE - 1))

    def _former_marriage(self, person: Person, before: date) -> _Bond | None:
        """Give someone a marriage that ended before this day; the other one lives elsewhere.

        None where there was no time for it.
        """
        chance = self._chance
        apart = timedelta(days=chance.between(-1200, 1200))
        first = max(
            birthday(person.born, HUSBAND_AGE if person.sex == MAN else WIFE_AGE),
            birthday(person.born + apart, WIFE_AGE if person.sex == MAN else HUSBAND_AGE),
        )
        since = chance.day(first, birthday(first, 4))
        ended = chance.day(birthday(since, 1), min(birthday(since, 15), before - timedelta(days=1)))
        if ended >= before:
            return None
        home = self._open()
        other = self._person(home, WOMAN if person.sex == MAN else MAN, person.born + apart)
        self._close(home)
        husband, wife = (person, other) if person.sex == MAN else (other, person)
        bond = _Bond(husband, wife, since, ended, home.place.district)
        self._bonds.append(bond)
        return bond

    def _children(self, home: _Home, bond: _Bond) -> None:
        """Children of this marriage who still live at home: under 27."""
        chance = self._chance
        if bond.since.year < 1980:  # noqa: PLR2004  one child per couple from then on …
            number = chance.weigh(_CHILDREN["before 1980"])
        elif bond.since.year < 2011:  # noqa: PLR2004  … and two from 2016, for the young
            number = chance.weigh(_CHILDREN["one child"])
        else:
            number = chance.weigh(_CHILDREN["two children"])
        last = min(birthday(bond.wife.born, 43), bond.ended or AS_OF) - timedelta(days=1)
        born = bond.since + timedelta(days=chance.between(290, 1800))
        family_name = _family_name(bond.husband if chance.happens(0.93) else bond.wife)
        for _ in range(number):
            if born > last:
                return
            if birthday(born, 27) > AS_OF:
                self._person(
                    home,
                    WOMAN if chance.happens(0.47) else MAN,
                    born,
                    family_name=family_name,
                    ethnicity=bond.husband.ethnicity,
                )
            born += timedelta(days=chance.between(500, 1900))

    def _parents(self, home: _Home, child: Person) -> None:
        """The father and mother of a grown man, or the mother alone."""
        chance = self._chance
        mother_born = child.born - timedelta(days=chance.between(8000, 12500))
        father_born = mother_born - timedelta(days=chance.between(0, 1500))
        mother = self._person(home, WOMAN, mother_born)
        if chance.happens(0.35):
            return
        father = self._person(
            home,
            MAN,
            father_born,
            family_name=_family_name(child),
            ethnicity=child.ethnicity,
        )
        first = _legal_day(father_born, mother_born)
        since = chance.day(first, child.born - timedelta(days=280))
        self._bonds.append(_Bond(father, mother, since, None, home.place.district))

    # -- homes ---------------------------------------------------------------------------------

    def _open(self) -> _Home:
        place = self._surveyor.place()
        # A former spouse's home opens while another is still open: closed ones do not count all.
        self._opened += 1
        return _Home(f"{place.district.code}{self._opened:06d}", place)

    def _close(self, home: _Home) -> None:
        """Enter the household; the first who moved in is its head."""
        self.households.append(
            Household(
                household_no=home.number,
                head_id_number=home.family[0].id_number,
                address=home.place.address,
                district=home.place.district.name,
                members=len(home.family),
            )
        )


def _legal_day(husband_born: date, wife_born: date) -> date:
    """Give the first day on which these two may marry."""
    return max(birthday(husband_born, HUSBAND_AGE), birthday(wife_born, WIFE_AGE))


def _family_name(person: Person) -> str:
    compound = person.name[:2]
    return compound if compound in _COMPOUND else person.name[0]


_COMPOUND = frozenset(name for name in FAMILY_NAMES.things if len(name) > 1)
