"""The numbers a registry writes down, with the check characters their standards ask for.

Sources: GB 11643-1999 (citizen identity number), ISO/IEC 7064 MOD 11-2, GB 32100-2015 (unified
social credit code), GB 11714-1997 (organisation code inside it).
"""

from datetime import date

_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"

CREDIT_CODE_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""31 characters: I, O, S, V and Z are left out because they are misread (GB 32100-2015)."""

_CREDIT_VALUES = {character: value for value, character in enumerate(CREDIT_CODE_ALPHABET)}
_CREDIT_WEIGHTS = tuple(pow(3, place, 31) for place in range(17))
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)

_PHONE_BLOCK = "154"
"""Mobile numbers run from 130 to 199; no operator has been given 154."""

_PHONES = 10**8


def id_check_character(first17: str) -> str:
    """Give the eighteenth character of an identity number: a digit, or ``X`` for ten."""
    return _ID_CHECKS[
        sum(int(digit) * weight for digit, weight in zip(first17, _ID_WEIGHTS, strict=True)) % 11
    ]


def id_number(district_code: str, born: date, sequence: int) -> str:
    """Write a citizen identity number.

    Args:
        district_code: Six digits; where the person was first registered.
        born: The day of birth.
        sequence: 1 … 999, odd for a man and even for a woman.
    """
    first17 = f"{district_code}{born:%Y%m%d}{sequence:03d}"
    return first17 + id_check_character(first17)


def organisation_check_character(first8: str) -> str:
    """Give the ninth character of an organisation code: a digit, or ``X`` for ten.

    Letters count 10 … 35 here, unlike in the credit code around it.
    """
    total = sum(
        int(character, 36) * weight
        for character, weight in zip(first8, _ORGANISATION_WEIGHTS, strict=True)
    )
    return "0123456789X"[-total % 11]


def credit_check_character(first17: str) -> str:
    """Give the eighteenth character of a unified social credit code."""
    total = sum(
        _CREDIT_VALUES[character] * weight
        for character, weight in zip(first17, _CREDIT_WEIGHTS, strict=True)
    )
    return CREDIT_CODE_ALPHABET[-total % 31]


def credit_code(district_code: str, serial: int) -> str:
    """Write the unified social credit code of an enterprise.

    Args:
        district_code: Six digits; where it is registered.
        serial: 0 … 99,999,999; another serial, another code.
    """
    organisation = f"MA{_base31(serial, 6)}"
    organisation += organisation_check_character(organisation)
    # 9: market regulation registered it; 1: it is an enterprise.
    first17 = f"91{district_code}{organisation}"
    return first17 + credit_check_character(first17)


def phone(serial: int) -> str:
    """Write an 11-digit telephone number; serials 0 … 99,999,999 all give different ones."""
    # Multiplying by a number that shares no factor with 10^8 permutes the block.
    return f"{_PHONE_BLOCK}{serial * 48_271_633 % _PHONES:08d}"


def _base31(number: int, width: int) -> str:
    characters = ""
    for _ in range(width):
        number, value = divmod(number, 31)
        characters = CREDIT_CODE_ALPHABET[value] + characters
    return characters
