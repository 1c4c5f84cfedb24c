"""ROOM 3: ask the source, and carry away no more than the permit allows.

`plan`, `sql`, `wire` and `mask` are pure; `source` is the port, `postgres` its adapter.
"""
