"""Verify a log's files as the command does, in a process with one thread; prints the seconds."""

import sys
from pathlib import Path
from time import perf_counter

from sharegate.audit.note import VerifierKey
from sharegate.cli.audit.sealed import Files, verify_files


def main(directory: str, log_key: str) -> None:
    files = Files(Path(directory), VerifierKey.parse(log_key))
    began = perf_counter()
    assert verify_files(files, lambda _done, _whole: None, 2) > 0
    print(perf_counter() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
