"""The rows of the three registers, each a tuple in its table's column order.

Tuples because PostgreSQL's COPY takes them as they are. Money is in yuan with two decimals.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

AS_OF = date(2026, 1, 1)
"""The morning on which all registers are read off: nothing in them is later."""

INCOME_YEARS = range(2021, 2026)

ADULT = 18
"""Age in years from which a person owns property, works and acts for a company."""


class Person(NamedTuple):
    """A resident. ``phone`` is absent for small children."""

    id_number: str
    name: str
    sex: str
    born: date
    ethnicity: str
    phone: str | None
    address: str
    district: str
    household_no: str


class Household(NamedTuple):
    """Who is registered at one address."""

    household_no: str
    head_id_number: str
    address: str
    district: str
    members: int


class Marriage(NamedTuple):
    """A marriage certificate; ``ended_on`` is set where the status is ``divorced``."""

    certificate_no: str
    husband_id_number: str
    wife_id_number: str
    registered_on: date
    office: str
    status: str
    ended_on: date | None


class Property(NamedTuple):
    """A registered property and its present owner."""

    certificate_no: str
    owner_id_number: str
    owner_name: str
    address: str
    district: str
    area_m2: Decimal
    use: str
    registered_on: date
    mortgaged: bool


class Transfer(NamedTuple):
    """A sale of a registered property."""

    transfer_no: str
    certificate_no: str
    seller_id_number: str
    buyer_id_number: str
    price: Decimal
    transferred_on: date


class Income(NamedTuple):
    """What one person earned in one calendar year, and the tax withheld from it."""

    id_number: str
    year: int
    employer: str
    gross: Decimal
    tax_paid: Decimal


class Company(NamedTuple):
    """A registered company and the person who acts for it."""

    credit_code: str
    name: str
    representative_id_number: str
    representative_name: str
    status: str
    registered_on: date
    capital: Decimal


@dataclass(frozen=True, slots=True)
class Town:
    """All three registers, consistent with one another."""

    persons: tuple[Person, ...]
    households: tuple[Household, ...]
    marriages: tuple[Marriage, ...]
    properties: tuple[Property, ...]
    transfers: tuple[Transfer, ...]
    incomes: tuple[Income, ...]
    companies: tuple[Company, ...]


def birthday(born: date, age: int) -> date:
    """Give the day on which someone reaches this age; 1 March for those born on 29 February."""
    try:
        return born.replace(year=born.year + age)
    except ValueError:
        return date(born.year + age, 3, 1)
