"""ShareGate answers one department's question from another department's database.

It gives no answer that it has not first written into a log that none of them can alter.
A stranger starts with :mod:`sharegate.gateway`: that one function is the programme.
"""

__version__ = "0.1.0"
