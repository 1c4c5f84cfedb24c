"""What is kept of the rules in force."""

import gc
import weakref

from sharegate.fetch.made import Made


class Rules:
    pass


def test_it_keeps_so_many_and_then_forgets_all():
    made = Made(2)
    for name in "abc":
        assert made.get(name) is None
        assert made.keep(name, None, name.upper()) == name.upper() == made.get(name)
    assert len(made) == 1


def test_what_it_was_made_of_lives_as_long_as_it_is_known():
    made, rules = Made(2), Rules()
    made.keep(id(rules), rules, 1)
    alive = weakref.ref(rules)
    del rules
    gc.collect()
    assert alive() is not None, "another could come to have its id"
    made.keep("b", None, 2)
    made.keep("c", None, 3)
    gc.collect()
    assert alive() is None
