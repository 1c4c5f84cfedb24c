"""``sharegate audit``: what is done with the audit log after it was written."""

from sharegate.cli.audit.verify import verify_log

__all__ = ["verify_log"]
