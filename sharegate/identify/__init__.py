"""ROOM 1: who is asking?

Whoever leaves this room is a department whose registered key signed exactly this request, and
an officer whom that same department's own issuer vouches for. Nobody else leaves it: every
doubt ends in :class:`~sharegate.errors.Unauthenticated`, which names the part at fault and
repeats nothing of what was sent. The room opens no connection and reads no clock; whom it
believes stands in the registry file and nowhere else.

Whether a signed request was seen before is not decided here but by the append itself, which
refuses a second entry with the same replay key, across processes and restarts.
"""
