"""Read posts.csv: the posts officers hold, and which of them includes which."""

from collections.abc import Mapping
from types import MappingProxyType

from sharegate.authorize.table import ID, read_table
from sharegate.errors import Misconfigured

POSTS_HEADER = ("post", "name_zh", "name_en", "includes")
# Casbin itself stops following a chain of roles at ten links, and says nothing.
MAX_CHAIN = 8


def read_posts(place: str, content: bytes) -> Mapping[str, frozenset[str]]:
    """Read the table: by post, itself and every post it includes, directly or through others.

    Raises:
        Misconfigured: Not such a table; a post that is no identifier, listed twice, not listed,
            included in itself, or through more than `MAX_CHAIN` others; names the line.
    """
    includes: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for line, (post, name_zh, name_en, included) in read_table(place, content, POSTS_HEADER):
        if ID.fullmatch(post) is None or not name_zh or not name_en:
            raise Misconfigured(f"{place}:{line}", "a post has an identifier and two names")
        if post in includes:
            raise Misconfigured(f"{place}:{line}", f"{post} is listed twice")
        lines[post] = line
        includes[post] = tuple(included.split(" ")) if included else ()
    closure: dict[str, frozenset[str]] = {}
    for post, line in lines.items():
        reached, step = {post}, {post}
        for _ in range(MAX_CHAIN + 1):
            step = {below for each in step for below in includes[each]}
            for below in sorted(step):
                if below not in includes:
                    raise Misconfigured(
                        f"{place}:{line}", f"{post} includes {below}, no listed post"
                    )
                if below == post:
                    raise Misconfigured(f"{place}:{line}", f"{post} includes itself")
            reached |= step
        if step:
            raise Misconfigured(
                f"{place}:{line}", f"{post} includes others over more than {MAX_CHAIN} steps"
            )
        closure[post] = frozenset(reached)
    return MappingProxyType(closure)
