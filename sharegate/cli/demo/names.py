"""Names that could stand in a register, by family, sex and the years people were born in.

Weights follow the order of magnitude of the Ministry of Public Security's published name
reports; compound family names are made likelier than they are, so that a small town has some.
"""

from bisect import bisect
from dataclasses import dataclass

from sharegate.cli.demo.chance import Chance, Weighted

FAMILY_NAMES = Weighted.of({
    "王": 715, "李": 701, "张": 674, "刘": 510, "陈": 461, "杨": 322, "黄": 245, "赵": 227,
    "吴": 222, "周": 217, "徐": 162, "孙": 157, "马": 142, "朱": 139, "胡": 138, "郭": 126,
    "何": 124, "林": 121, "高": 118, "罗": 108, "郑": 103, "梁": 99, "谢": 88, "宋": 84,
    "唐": 78, "许": 75, "韩": 74, "冯": 70, "邓": 69, "曹": 66, "彭": 64, "曾": 63,
    "肖": 62, "田": 60, "董": 59, "袁": 56, "潘": 54, "于": 53, "蒋": 52, "蔡": 51,
    "余": 50, "杜": 49, "叶": 47, "程": 46, "苏": 45, "魏": 44, "吕": 43, "丁": 42,
    "任": 41, "沈": 40, "姚": 38, "卢": 37, "姜": 36, "崔": 35, "钟": 34, "谭": 33,
    "陆": 32, "汪": 31, "范": 30, "金": 29, "石": 28, "廖": 27, "贾": 26, "夏": 25,
    "韦": 24, "付": 23, "方": 22, "白": 21, "邹": 20, "孟": 19, "熊": 18, "秦": 17,
    "欧阳": 7, "上官": 3, "司马": 2, "诸葛": 2, "皇甫": 2, "尉迟": 1, "令狐": 1, "司徒": 1,
    "夏侯": 1, "慕容": 1,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Fashion:
    """The characters parents chose from in one era, for one sex."""

    first: str
    last: str
    alone: str
    alone_share: float


_ERAS = (1960, 1980, 2000)
"""Where one fashion ends and the next begins."""

_FASHIONS = {
    "男": (
        _Fashion("德永文国玉世正少福荣志明", "山生才林海清贵祥昌元华忠", "林祥福忠义贵", 0.12),
        _Fashion("建志国卫红新永文春海立晓", "国军华平民明强兵林生峰东", "军勇强伟涛斌刚辉", 0.34),
        _Fashion("志俊嘉文宇晓子天海振泽明", "杰鹏飞超龙辉豪鑫凯阳宁博", "鹏磊洋超杰浩帅宇", 0.36),
        _Fashion("子浩宇梓俊奕一沐明博嘉亦", "轩宇泽辰睿然豪诚涵阳晨航", "睿宸铭泽晨昊", 0.12),
    ),
    "女": (
        _Fashion("秀桂玉淑凤素兰翠美惠月金", "英兰珍芳华芝荣莲琴香云清", "英兰芳珍秀莲", 0.12),
        _Fashion("丽海晓春秀红玉小艳建雪爱", "华萍梅红霞燕芬玲娟琴云平", "敏静芳丽燕艳霞娟", 0.34),
        _Fashion("晓雅思佳婷雪梦文静慧诗丹", "婷雯欣琪怡琳洁倩颖丹蕾娜", "婷静雪倩丹颖敏琳", 0.36),
        _Fashion("梓欣雨诗子若思可语梦依一", "涵怡萱彤妍琪瑶诺桐汐晴悦", "妍诺萱瑶桐悦", 0.12),
    ),
}


def given_name(chance: Chance, sex: str, birth_year: int) -> str:
    """Give a child of this sex and year its name: one or two characters."""
    fashion = _FASHIONS[sex][bisect(_ERAS, birth_year)]
    if chance.happens(fashion.alone_share):
        return chance.pick(fashion.alone)
    first = chance.pick(fashion.first)
    last = chance.pick(fashion.last)
    # 明明 and 兰兰 are pet names; a register has few of them.
    return first if first == last else first + last
