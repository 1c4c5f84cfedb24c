"""One frozen tree of settings, and how its file is read."""

from sharegate.settings.reading import examine_settings, load_settings
from sharegate.settings.tables import (
    Address,
    AuditLogSettings,
    ConfirmSettings,
    Dsn,
    KeeperSettings,
    Limits,
    Listen,
    ProjectionSettings,
    QuotaSettings,
    Settings,
    SourceSettings,
    Tls,
    TrustSettings,
    WitnessesSettings,
)

__all__ = [
    "Address",
    "AuditLogSettings",
    "ConfirmSettings",
    "Dsn",
    "KeeperSettings",
    "Limits",
    "Listen",
    "ProjectionSettings",
    "QuotaSettings",
    "Settings",
    "SourceSettings",
    "Tls",
    "TrustSettings",
    "WitnessesSettings",
    "examine_settings",
    "load_settings",
]
