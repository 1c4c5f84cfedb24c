"""A site where civil affairs' questions about properties are referred, and persons who may rule."""

import time
from base64 import b64encode

from sharegate.cli.demo.stage import sign_everything
from sharegate.cli.keys import new_signing_key
from sharegate.identify.officer import issue_token
from tests.integration.audit_database import ask, until
from tests.postgres import on_a_thread

PERSON = """
[[person]]
id = "{id}"
department = "{department}"
role = "{role}"
public = "{public}"
not_before = 2020-01-01T00:00:00Z
not_after = 2090-01-01T00:00:00Z
"""
PEOPLE = {
    "chen-jing": ("housing", "rule"),
    "liu-yang": ("housing", "rule"),
    "sun-li": ("civil-affairs", "rule"),
    "ma-na": ("housing", "manage"),
    "li-na": ("tax", "audit"),
}
QUESTION = """
[[resource.question]]
id = "is-it-needed"
zh = "是否确有必要？"
en = "Is it needed?"
"""


def prepare_site(site):
    """Add the persons, and make the grant refer; to be done before a gateway starts."""
    keys = site.place / "keys"
    said = ""
    for name, (department, role) in PEOPLE.items():
        public = new_signing_key(keys / f"{name}.person.pem").public_key().public_bytes_raw()
        said += PERSON.format(
            id=name, department=department, role=role, public=b64encode(public).decode()
        )
    registry = site.place / "registry.toml"
    registry.write_text(registry.read_text() + said)
    housing = site.place / "policies" / "housing"
    grants = housing / "grants.csv"
    text = grants.read_text("utf-8")
    before = "mortgaged,,,20,,channel,,,"
    assert text.count(before) == 1
    grants.write_text(text.replace(before, "mortgaged,,,20,,channel,is-it-needed,,"), "utf-8")
    resources = housing / "resources.toml"
    text = resources.read_text("utf-8")
    resources.write_text(
        text.replace("row_limit = 50\n", f"row_limit = 50\n{QUESTION}", 1), "utf-8"
    )
    sign_everything(site.place)


def caller_as(site, gateway, department, officer):
    """A department's caller settings with the token of another officer; the file's path."""
    home = gateway.config.parent / "callers"
    now = int(time.time())
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    issuer = load_pem_private_key(
        (site.place / "keys" / f"{department}.issuer.pem").read_bytes(), None
    )
    token = issue_token(
        issuer,
        issuer=f"https://officers.{department}.example",
        officer=officer,
        department=department,
        audience=gateway.exchange_url.removeprefix("http://"),
        now=now,
        lifetime_s=3600,
    )
    (home / f"{officer}.token").write_text(token)
    file = home / f"{officer}.toml"
    usual = (home / f"{department}.toml").read_text()
    file.write_text(usual.replace(f"{department}.token", f"{officer}.token"))
    return file


def listed(site, exchange_id):
    """Wait until a referral is listed; that happens a moment after its answer."""

    async def there():
        rows = await ask(
            site.audit_dsn(), "select from sharegate.referral where exchange_id::text = $1",
            exchange_id,
        )  # fmt: skip
        return bool(rows)

    on_a_thread(until(there))
