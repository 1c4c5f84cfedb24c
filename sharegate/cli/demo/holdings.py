"""What people own, where they work and what they earn.

Incomes are taxed by the table of the Individual Income Tax Law of 2018 (annex 1): 60,000 yuan a
year and the social insurance a worker pays are free of tax.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from sharegate.cli.demo.chance import Chance, Weighted
from sharegate.cli.demo.numbers import credit_code
from sharegate.cli.demo.places import CITY, DISTRICTS, PROVINCE_SHORT, Surveyor
from sharegate.cli.demo.rows import (
    ADULT,
    AS_OF,
    INCOME_YEARS,
    Company,
    Household,
    Income,
    Person,
    Property,
    Transfer,
    birthday,
)

# -- companies and incomes ---------------------------------------------------------------------

_BRAND_FIRST = "安博创达德鼎东方丰福高光广国海汉恒宏华汇佳金锦聚康乐联隆龙美明"
_BRAND_LAST = "邦昌辰诚达顿丰峰福冠和恒弘辉嘉捷凯康科力利隆茂铭宁鹏普瑞润盛"
_TRADES = (
    "商贸", "建筑工程", "物业管理", "餐饮管理", "机械制造", "食品", "物流", "软件技术", "纺织",
    "医药", "农业开发", "装饰工程", "汽车销售", "电子科技", "文化传媒", "劳务", "酒店管理", "化工",
)  # fmt: skip
_STATUSES = Weighted.of({"存续": 82, "注销": 13, "吊销": 5})
_CAPITALS = Weighted.of({100_000: 18, 500_000: 25, 1_000_000: 28, 5_000_000: 18, 20_000_000: 11})
_WAGES = Weighted.of({  # yuan a year: from … to
    (19_200, 36_000): 20, (36_000, 66_000): 36, (66_000, 108_000): 27, (108_000, 216_000): 13,
    (216_000, 600_000): 3.6, (600_000, 1_800_000): 0.4,
})  # fmt: skip
_RETIRED = {"男": 60, "女": 55}
_TAX_FREE_CENTS = 60_000_00
_INSURANCE_PERMILLE = 175
_TAX_TABLE = (  # up to so many cents a year: percent, quick deduction in cents
    (36_000_00, 3, 0), (144_000_00, 10, 2_520_00), (300_000_00, 20, 16_920_00),
    (420_000_00, 25, 31_920_00), (660_000_00, 30, 52_920_00), (960_000_00, 35, 85_920_00),
)  # fmt: skip
_TAX_ABOVE = (45, 181_920_00)


def companies(chance: Chance, adults: Sequence[Person]) -> list[Company]:
    """Found one company for about every dozen adults, each with an adult to act for it."""
    names: set[str] = set()
    founded: list[Company] = []
    for serial in range(max(len(adults) // 12, 10)):
        representative = chance.pick(adults)
        while True:
            brand = chance.pick(_BRAND_FIRST) + chance.pick(_BRAND_LAST)
            name = f"{CITY}{brand}{chance.pick(_TRADES)}有限公司"
            if name not in names:
                names.add(name)
                break
        founded.append(
            Company(
                # The step shares no factor with 31, so neighbours end differently.
                credit_code=credit_code(chance.pick(DISTRICTS).code, 8_000_000 + serial * 7_919),
                name=name,
                representative_id_number=representative.id_number,
                representative_name=representative.name,
                status=chance.weigh(_STATUSES),
                registered_on=chance.day(
                    max(birthday(representative.born, ADULT), date(1994, 7, 1)),
                    AS_OF - timedelta(days=1),
                ),
                capital=_yuan(chance.weigh(_CAPITALS) * 100),
            )
        )
    return founded


def incomes(
    chance: Chance, adults: Sequence[Person], companies: Sequence[Company]
) -> Iterator[Income]:
    """Give working adults a wage for each year they worked, from companies that then existed."""
    opened = date(INCOME_YEARS[0], 1, 1)
    employers = [
        company.name
        for company in companies
        if company.status == "存续" and company.registered_on < opened
    ]
    if not employers:
        return
    # The first is the largest employer, the tenth a tenth of it.
    staff = Weighted.of({name: 1 / rank for rank, name in enumerate(employers, 3)})
    for person in adults:
        if chance.happens(0.2):
            continue  # no wage in these years: farms, housework, illness, study
        first_job = chance.between(ADULT, 24)
        employer = chance.weigh(staff)
        low, high = chance.weigh(_WAGES)
        cents = chance.between(low * 100, high * 100)
        for year in INCOME_YEARS:
            age = year - person.born.year
            if first_job < age < _RETIRED[person.sex] and not chance.happens(0.04):
                yield Income(
                    person.id_number, year, employer, _yuan(cents), _yuan(_income_tax(cents))
                )
            cents = cents * chance.between(970, 1120) // 1000
            if chance.happens(0.08):
                employer = chance.weigh(staff)


def _income_tax(gross_cents: int) -> int:
    taxable = gross_cents * (1000 - _INSURANCE_PERMILLE) // 1000 - _TAX_FREE_CENTS
    if taxable <= 0:
        return 0
    for end, percent, quick in _TAX_TABLE:
        if taxable <= end:
            return taxable * percent // 100 - quick
    percent, quick = _TAX_ABOVE
    return taxable * percent // 100 - quick


def _yuan(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


# -- properties and transfers ------------------------------------------------------------------

_OWNED = Weighted.of({0: 24, 1: 54, 2: 16, 3: 6})
_USES = Weighted.of({"住宅": 66, "车库": 18, "商业": 11, "办公": 5})
_AREAS = {"住宅": (42, 168), "车库": (11, 28), "商业": (18, 240), "办公": (35, 320)}
_FIRST_REGISTRATION = date(1999, 1, 1)


@dataclass(frozen=True, slots=True)
class _Deed:
    """A property before the certificates are numbered by date."""

    owner: Person
    address: str
    district: str
    use: str
    since: date


def properties(
    chance: Chance,
    surveyor: Surveyor,
    households: Sequence[Household],
    adults: Sequence[Person],
) -> list[Property]:
    """Give each household none, one or several; whoever owns one lives in the first of them."""
    at_home: defaultdict[str, list[Person]] = defaultdict(list)
    for person in adults:
        at_home[person.household_no].append(person)
    deeds: list[_Deed] = []
    for household in households:
        for nth in range(chance.weigh(_OWNED)):
            family = at_home[household.household_no]
            owner = family[0] if chance.happens(0.6) else chance.pick(family)
            since = chance.day(
                max(birthday(owner.born, ADULT + 2), _FIRST_REGISTRATION), AS_OF - timedelta(days=7)
            )
            if since >= AS_OF:
                continue  # not yet twenty
            if nth == 0:
                deeds.append(_Deed(owner, household.address, household.district, "住宅", since))
            else:
                place = surveyor.place()
                use = chance.weigh(_USES)
                deeds.append(_Deed(owner, place.address, place.district.name, use, since))
    return _certificates(chance, deeds)


def _certificates(chance: Chance, deeds: list[_Deed]) -> list[Property]:
    serials: Counter[int] = Counter()
    certificates: list[Property] = []
    for deed in sorted(deeds, key=lambda deed: deed.since):
        year = deed.since.year
        serials[year] += 1
        low, high = _AREAS[deed.use]
        certificates.append(
            Property(
                certificate_no=f"{PROVINCE_SHORT}（{year}）{CITY}不动产权第{serials[year]:07d}号",
                owner_id_number=deed.owner.id_number,
                owner_name=deed.owner.name,
                address=deed.address,
                district=deed.district,
                area_m2=_yuan(chance.between(low * 100, high * 100)),
                use=deed.use,
                registered_on=deed.since,
                # A loan runs twenty years or less; few of the old ones are left.
                mortgaged=chance.happens(0.45 if year >= 2014 else 0.08),  # noqa: PLR2004
            )
        )
    return certificates


def transfers(
    chance: Chance, properties: Sequence[Property], adults: Sequence[Person]
) -> list[Transfer]:
    """Tell how some properties were sold to their present owner, and some once before that."""
    sales: list[tuple[date, str, str, str, int]] = []
    for certificate in properties:
        if not chance.happens(0.42):
            continue
        sold = certificate.registered_on - timedelta(days=chance.between(1, 45))
        buyer = certificate.owner_id_number
        seller = _seller(chance, adults, sold, buyer)
        price = int(certificate.area_m2 * chance.between(3_200, 14_500)) * 100
        if seller is None:
            continue
        sales.append((sold, certificate.certificate_no, seller.id_number, buyer, price))
        before = sold - timedelta(days=chance.between(400, 4000))
        earliest = max(birthday(seller.born, ADULT), _FIRST_REGISTRATION)
        if chance.happens(0.25) and earliest <= before:
            first = _seller(chance, adults, before, seller.id_number)
            if first is not None:
                price = price * chance.between(45, 98) // 100
                number = certificate.certificate_no
                sales.append((before, number, first.id_number, seller.id_number, price))
    serials: Counter[int] = Counter()
    chain: list[Transfer] = []
    for sold, certificate_no, seller_id, buyer_id, price in sorted(sales):
        serials[sold.year] += 1
        number = f"ZY{sold.year}{serials[sold.year]:07d}"
        chain.append(Transfer(number, certificate_no, seller_id, buyer_id, _yuan(price), sold))
    return chain


def _seller(
    chance: Chance, adults: Sequence[Person], sold: date, buyer_id_number: str
) -> Person | None:
    """Find someone who was of age on the day and is not the buyer; None after twenty tries."""
    for _ in range(20):
        person = chance.pick(adults)
        if birthday(person.born, ADULT) <= sold and person.id_number != buyer_id_number:
            return person
    return None
