"""ROOM 4: write it down, durably, before anything leaves.

What to write is pure (:mod:`.entry`, :mod:`.detail`, :mod:`.answer`); many exchanges share one
commit (:mod:`.commit`); PostgreSQL keeps it (:mod:`.postgres`). Only :class:`.recorder.Recorder`
makes a :class:`~sharegate.model.passage.Recorded`.
"""
