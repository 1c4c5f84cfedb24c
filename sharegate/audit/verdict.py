"""The two ways evidence can fail: it cannot be read, or it does not prove."""


class Malformed(ValueError):
    """The bytes are not in the format they claim; nothing was judged."""


class Unproven(ValueError):
    """The bytes are in the format, and do not prove what they are offered for."""
