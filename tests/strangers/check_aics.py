"""Checks a log's files with PyPI ``aics-tlog``: the checkpoint, every tile and every entry bundle.

Run by an interpreter (3.12 or newer) that has it and nothing of ours. Arguments: the directory, the
verifier key.
"""

import sys
from pathlib import Path

import aics_tlog


def main() -> int:
    place, vkey = Path(sys.argv[1]), sys.argv[2]
    try:
        note = aics_tlog.parse_note((place / "checkpoint").read_text(encoding="utf-8"))
        key = aics_tlog.parse_vkey(vkey)
        origin = vkey.partition("+")[0]
        head = aics_tlog.verify_checkpoint(note, key, expected_origin=origin)
        assert head.ok, head.error
        reader = aics_tlog.FileSystemTileReader(place)
        report = aics_tlog.audit_tiles(reader, head.size, head.root)
        assert report.bundles > 0, "it read no entries"
    except Exception as error:  # noqa: BLE001  whatever is wrong, it disagrees
        print("DISAGREE", type(error).__name__, error)
        return 1
    print("AGREE", head.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
