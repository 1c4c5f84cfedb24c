"""Exchange ids are UUIDv7 as RFC 9562 5.7 lays them out."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sharegate.model.ids import exchange_id

moments = st.integers(0, 2**48 - 1)
noises = st.binary(min_size=10, max_size=10)


def test_the_example_of_the_rfc():
    # RFC 9562 A.6: 2022-02-22T19:22:22Z, rand_a CC3, rand_b 18C4DC0C0C07398F (62 bits)
    noise = 0xCC3 << 68 | 0x18C4DC0C0C07398F
    made = exchange_id(0x017F22E279B0, noise.to_bytes(10))
    assert str(made) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(moments, noises)
def test_its_parts_are_where_the_rfc_has_them(at, noise):
    made = exchange_id(at, noise)
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == at
    bits = int.from_bytes(noise)
    assert made.int >> 64 & 0xFFF == bits >> 68
    assert made.int & (1 << 62) - 1 == bits & (1 << 62) - 1


@given(st.lists(moments, min_size=2), noises, noises)
def test_ids_rise_with_time_whatever_the_noise(times, one, other):
    ordered = sorted(set(times))
    ids = [exchange_id(at, (one, other)[n % 2]) for n, at in enumerate(ordered)]
    assert all(before.bytes < after.bytes for before, after in pairwise(ids))


@given(moments, noises, noises)
def test_other_noise_is_another_id_unless_only_unused_bits_differ(at, one, other):
    used = ~(0b111111 << 62) & (1 << 80) - 1
    same = int.from_bytes(one) & used == int.from_bytes(other) & used
    assert (exchange_id(at, one) == exchange_id(at, other)) is same
