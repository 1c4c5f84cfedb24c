"""A gateway that does not hear what the database warns about."""

import sys

from sharegate.cli.main import main
from sharegate.record.postgres import PostgresAuditLog

PostgresAuditLog._notice = lambda *_: None  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
