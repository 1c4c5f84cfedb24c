"""Where the town lies: a prefecture that is on no map.

GB/T 2260 has no province 47, so a code that begins with it is well formed and nobody's.
"""

from dataclasses import dataclass

from sharegate.cli.demo.chance import Chance, Weighted

PROVINCE = "南岭省"
PROVINCE_SHORT = "岭"
CITY = "澜安市"


@dataclass(frozen=True, slots=True)
class District:
    """A district, county or county-level city of the prefecture."""

    code: str
    name: str
    quarters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """One dwelling or room, as a register writes it."""

    district: District
    address: str


_SIZES = {
    District("470102", "临湖区", ("望江街道", "文昌街道", "湖滨街道", "鼓楼街道", "桂园街道")): 26,
    District("470103", "城东区", ("东门街道", "车站街道", "新华街道", "双桥街道")): 22,
    District("470104", "凤山区", ("凤山街道", "学府街道", "科苑街道", "石桥镇")): 18,
    District("470105", "江口区", ("江口街道", "码头街道", "沙洲街道", "白石镇")): 14,
    District("470121", "柳溪县", ("城关镇", "柳溪镇", "马鞍镇", "青石镇")): 9,
    District("470122", "云台县", ("云台镇", "龙泉镇", "竹林镇")): 6,
    District("470181", "永宁市", ("永宁街道", "南门街道", "大塘镇")): 5,
}
DISTRICTS = tuple(_SIZES)
_BY_SIZE = Weighted.of(_SIZES)

_ROADS = (
    "人民路", "解放路", "建设路", "中山路", "和平路", "文化路", "新华路", "胜利路", "滨江路",
    "学院路", "环城路", "青年路", "幸福巷", "桂花巷", "书院街", "朝阳街", "长虹路", "迎宾大道",
)  # fmt: skip


class Surveyor:
    """Hands out addresses, none of them twice."""

    __slots__ = ("_chance", "_taken")

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._taken: set[str] = set()

    def place(self) -> Place:
        """Give the next address: province, city, district, street or town, house and room."""
        chance = self._chance
        while True:
            district = chance.weigh(_BY_SIZE)
            address = (
                f"{PROVINCE}{CITY}{district.name}{chance.pick(district.quarters)}"
                f"{chance.pick(_ROADS)}{chance.between(1, 288)}号{chance.between(1, 24)}幢"
                f"{chance.between(1, 4)}单元{chance.between(1, 18)}{chance.between(1, 4):02d}室"
            )
            if address not in self._taken:
                self._taken.add(address)
                return Place(district, address)
