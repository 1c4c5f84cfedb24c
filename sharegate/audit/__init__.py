"""The evidence: what the audit log is made of and how anyone can check it.

A department that holds a receipt, a member that watches a log and an auditor
who opens a copy of one all run these same functions. They need no network, no
disk, no clock and nothing else of ShareGate: bytes go in, and a value or one of
the two errors of `verdict` comes out.

Read `tree` (the Merkle tree), `chain` (the leaves and their hash chain),
`proof` (inclusion and consistency), `note`, `checkpoint` and `receipt` (the
C2SP texts that are signed and kept).
"""
