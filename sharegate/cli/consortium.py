"""``sharegate consortium``: members watch each other's logs, by keys that each made itself.

An administrator begins (``init``), invites, and admits who applied; the administrators sign each
change. A member joins with the invitation, and applies each list of members that they signed.
"""

import argparse
import asyncio
import shutil
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from sharegate import durable
from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.quorum import open_cosigned, write_quorum
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.keys import new_ml_dsa_key, new_signing_key
from sharegate.cli.options import Verbs
from sharegate.cli.signing import load_key, sign_set
from sharegate.consortium.members import (
    LIST_FILE,
    Consortium,
    Invitation,
    Member,
    apply_for,
    note_of,
    open_consortium,
    read_application,
    read_consortium,
    read_invitation,
    write_consortium,
    write_invitation,
)
from sharegate.consortium.remote import asking, fetched_checkpoint, furthest, seen_by
from sharegate.consortium.witness_memory import Forgotten, WitnessMemory
from sharegate.consortium.witnessed import quorum_time
from sharegate.errors import Misconfigured
from sharegate.model.signed import CONSORTIUM_SET
from sharegate.private_keys import load_cosigner_key, load_ed25519

_INVITATION: Final = "invitation.toml"
_WITNESS_KEYS: Final = ("witness.pem", "witness-ml-dsa.pem")
_WITNESS: Final = "witness.toml"
_LISTEN: Final = "127.0.0.1:8470"
_STATE: Final = "state"
_OLD_SECONDS: Final = 120
_WRONG: Final = "WRONG"


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("consortium", help="members who watch each other's logs")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    act = acts.add_parser("init", help="begin one, as an administrator")
    _list_argument(act)
    act.add_argument("--name", required=True, help="what it is called")
    act.set_defaults(run=_init)
    act = acts.add_parser("invite", help="write what a member needs to join: whose word counts")
    _list_argument(act)
    act.add_argument("--administrator", action="append", required=True, metavar="KEY",
                     help="an administrator's verifier key; two or more")  # fmt: skip
    act.add_argument("--threshold", type=int, default=2, help="how many must sign; default 2")
    act.add_argument("--out", type=Path, required=True, metavar="FILE")
    act.set_defaults(run=_invite)
    act = acts.add_parser("join", help="make a witness's keys and an application, as a member")
    act.add_argument("invitation", type=Path)
    _home_argument(act)
    act.add_argument("--name", required=True, help="the member's: lower-case letters, digits, -")
    act.add_argument("--origin", required=True, help="the name of its log")
    act.add_argument("--log-key", type=Path, required=True, metavar="PEM",
                     help="the key that signs its log")  # fmt: skip
    act.add_argument("--url", required=True, help="where its log's files are shown")
    act.add_argument("--witness-url", required=True, help="where its witness takes checkpoints")
    act.set_defaults(run=_join)
    act = acts.add_parser("admit", help="add who applied, as an administrator")
    _list_argument(act)
    act.add_argument("application", type=Path)
    act.set_defaults(run=_admit)
    act = acts.add_parser("sign", help="sign the list of members; enough administrators must")
    _list_argument(act)
    act.add_argument("--key", type=Path, required=True, metavar="PEM", help="an Ed25519 key")
    act.add_argument("--as", dest="name", required=True, help="the key's name in the invitation")
    act.set_defaults(run=_sign)
    act = acts.add_parser("apply", help="watch the members of a signed list, and be watched")
    _list_argument(act)
    _home_argument(act)
    act.add_argument("--listen", metavar="HOST:PORT",
                     help=f"where the witness listens ({_LISTEN}); said once")  # fmt: skip
    act.add_argument("--fresh", action="store_true",
                     help="the consortium begins now: nobody has witnessed yet")  # fmt: skip
    act.set_defaults(run=_apply)
    act = acts.add_parser("status", help="ask every log and every witness; 1 if anything is wrong")
    _list_argument(act)
    _home_argument(act)
    act.set_defaults(run=_status)


def _list_argument(act: argparse.ArgumentParser) -> None:
    act.add_argument("list", type=Path, metavar="FILE", help="the list of members, consortium.toml")


def _home_argument(act: argparse.ArgumentParser) -> None:
    act.add_argument("--home", type=Path, required=True, metavar="DIR",
                     help="the member's: keys, settings, what its witness knows")  # fmt: skip


# --- administrators ---------------------------------------------------------------------------


def _init(chosen: argparse.Namespace) -> int:
    if chosen.list.exists():
        raise Misconfigured(str(chosen.list), "is there already")
    _write(chosen.list, write_consortium(Consortium(name=chosen.name, version=1)))
    print(f"{chosen.list}: the consortium {chosen.name}, without members; now invite them")
    return 0


def _invite(chosen: argparse.Namespace) -> int:
    invitation = Invitation(
        consortium=read_consortium(chosen.list).name,
        administrators=chosen.administrator,
        threshold=chosen.threshold,
    )
    invitation.trust("--administrator, --threshold")
    text = write_invitation(invitation)
    _write(chosen.out, text)
    print(f"{chosen.out}, SHA-256 {sha256(text.encode()).hexdigest()}")
    print("hand it over, and let the member read the SHA-256 back to you by another way")
    return 0


def _admit(chosen: argparse.Namespace) -> int:
    former = read_consortium(chosen.list)
    try:
        applicant = read_application(_bytes(chosen.application))
    except (Malformed, Unproven) as error:
        raise Misconfigured(str(chosen.application), str(error)) from error
    others = [member for member in former.member if member.name != applicant.name]
    fresh = msgspec.structs.replace(former, version=former.version + 1, member=[*others, applicant])
    candidate = chosen.list.with_name(f".{chosen.list.name}.new")
    _write(candidate, write_consortium(fresh))
    read_consortium(candidate)  # nobody shares what is another's own
    candidate.replace(chosen.list)
    origin = VerifierKey.parse(applicant.log_key).name
    for member in former.member:
        if member.name == applicant.name and member.log_key != applicant.log_key:
            print(f"NOTE: it takes the place of {member.name}, whose log had another key")
    print(f"{chosen.list} version {fresh.version}: {len(fresh.member)} members, with "
          f"{applicant.name}, whose log is {origin}")  # fmt: skip
    print("now the administrators sign it: sharegate consortium sign")
    return 0


def _sign(chosen: argparse.Namespace) -> int:
    consortium = read_consortium(chosen.list)
    files = {LIST_FILE: chosen.list.read_bytes()}
    key = load_key(chosen.key, chosen.name)
    said = sign_set(note_of(chosen.list), CONSORTIUM_SET, files, key, consortium.version)
    print(f"{chosen.list} version {said.version}, digest {said.digest}")
    return 0


# --- members ----------------------------------------------------------------------------------


def _join(chosen: argparse.Namespace) -> int:
    read_invitation(chosen.invitation)
    home: Path = chosen.home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file, make in zip(_WITNESS_KEYS, (new_signing_key, new_ml_dsa_key), strict=True):
        if not (home / file).exists():
            make(home / file)
    try:
        key = SignerKey(chosen.origin, load_ed25519(chosen.log_key))
        member = Member(
            name=chosen.name,
            log_key=key.vkey,
            url=chosen.url,
            witness=_witness_vkeys(home, chosen.origin),
            witness_url=chosen.witness_url,
        )
        application = apply_for(member, key)
    except Malformed as error:
        raise Misconfigured("join", str(error)) from error
    shutil.copyfile(chosen.invitation, home / _INVITATION)
    written = home / f"{chosen.name}.application"
    written.write_bytes(application)
    print(f"{written}: hand it to an administrator; then apply the list that comes back")
    return 0


def _apply(chosen: argparse.Namespace) -> int:
    home: Path = chosen.home
    invitation = read_invitation(home / _INVITATION)
    consortium = open_consortium(chosen.list, invitation)
    applied = home / LIST_FILE
    if applied.exists() and applied.resolve() != chosen.list.resolve():
        known = read_consortium(applied)
        same = applied.read_bytes() == chosen.list.read_bytes()
        if known.version > consortium.version or (known.version == consortium.version and not same):
            raise Misconfigured(str(chosen.list), f"version {known.version} was applied already")
    own = _own(home, consortium)
    if len(consortium.member) == 1:
        raise Misconfigured(str(chosen.list), "has no other member yet, so nobody to watch")
    others = [member for member in consortium.member if member.name != own.name]
    file = home / _WITNESS
    said = file.read_text(encoding="utf-8") if chosen.listen and file.exists() else None
    if said is not None and f'listen = "{chosen.listen}"\n' not in said:
        raise Misconfigured("--listen", f"is said once: change it in {file}")
    begun = _begin(home, others, fresh=chosen.fresh)
    _write_settings(home, own, others, chosen.listen)
    (home / "quorum").write_bytes(write_quorum(consortium.quorum(own)))
    for member in others:
        file = home / f"{member.name}.quorum"
        file.write_bytes(write_quorum(consortium.quorum(member)))
    if applied.resolve() != chosen.list.resolve():
        durable.replace(note_of(applied), note_of(chosen.list).read_bytes())
        durable.replace(applied, chosen.list.read_bytes())
    needed = consortium.quorum(own).groups
    how = f"{needed['members'].least} of {len(others)} must cosign" if needed else "nobody cosigns"
    print(f"{consortium.name} version {consortium.version}: {own.name} watches {len(others)} logs, "
          f"{begun} of them from now on; of its own log {how}")  # fmt: skip
    print(f"audit_log.quorum = {home / 'quorum'}; sharegate witness serve --config "
          f"{home / _WITNESS}; sharegate monitor --config {home / 'monitor.toml'}")  # fmt: skip
    return 0


def _begin(home: Path, others: Sequence[Member], *, fresh: bool) -> int:
    """Begin the witness with every log it does not know: from where the furthest peer is.

    Every peer has to answer, if only that it knows nothing of the log: who is left out could be the
    one who knows.
    """
    memory, begun = WitnessMemory(home / _STATE), 0
    memory.seize()
    try:
        for member in others:
            key = VerifierKey.parse(member.log_key)
            try:
                memory.recall(key.name)
            except Forgotten:
                peers = [other.witness_url for other in others if other is not member]
                found = None if fresh else asyncio.run(furthest(peers, key.name, [key]))
                memory.begin(key.name, b"" if found is None else found[0])
                begun += 1
    finally:
        memory.release()
    return begun


def _write_settings(home: Path, own: Member, others: Sequence[Member], listen: str | None) -> None:
    """The settings of the witness and of a monitor: the logs follow the list, the rest stays."""
    file = home / _WITNESS
    logs = ",\n".join(f'    "{member.log_key}"' for member in others)
    listed = f"logs = [\n{logs},\n]\n"
    if file.exists():
        head, _, former = file.read_text(encoding="utf-8").partition("logs = [")
        listed += former.partition("]\n")[2]
    else:
        keys = ", ".join(f'"{name}"' for name in _WITNESS_KEYS)
        name = _witness_name(VerifierKey.parse(own.log_key).name)
        head = f'name = "{name}"\nkeys = [{keys}]\nlisten = "{listen or _LISTEN}"\n'
        head += f'state = "{_STATE}"\n'
    _write(file, head + listed)
    watched = [
        f'[[logs]]\nkey = "{member.log_key}"\nurl = "{member.url}"\n'
        f'quorum = "{member.name}.quorum"\n'
        for member in others
    ]
    file, head = home / "monitor.toml", 'state = "watched"\n'
    if file.exists():
        head = file.read_text(encoding="utf-8").partition("[[logs]]")[0].rstrip() + "\n"
    _write(file, "\n".join([head, *watched]))


def _own(home: Path, consortium: Consortium) -> Member:
    """Which member this is: the one whose witness has the key that is here."""
    for member in consortium.member:
        if member.witness == _witness_vkeys(home, VerifierKey.parse(member.log_key).name):
            return member
    raise Misconfigured(str(home), f"holds the witness keys of no member of {consortium.name}")


def _witness_vkeys(home: Path, origin: str) -> list[str]:
    return [
        Cosigner(_witness_name(origin), load_cosigner_key(home / file)).verifier.vkey
        for file in _WITNESS_KEYS
    ]


def _witness_name(origin: str) -> str:
    """What the witness of whoever has this log is called: at the same host."""
    return f"{origin.partition('/')[0]}/witness"


# --- everybody --------------------------------------------------------------------------------


def _status(chosen: argparse.Namespace) -> int:
    consortium = open_consortium(chosen.list, read_invitation(chosen.home / _INVITATION))

    async def ask() -> list[list[str]]:
        async with asking() as session:
            return await asyncio.gather(
                *(_of_member(session, consortium, member) for member in consortium.member)
            )

    wrong = 0
    for member, said in zip(consortium.member, asyncio.run(ask()), strict=True):
        wrong += any(line.startswith(_WRONG) for line in said)
        for line in said:
            print(f"{member.name:<24} {line}")
    return int(wrong > 0)


async def _of_member(
    session: aiohttp.ClientSession, consortium: Consortium, member: Member
) -> list[str]:
    """What there is to say of a member's log, line by line."""
    quorum, key = consortium.quorum(member), VerifierKey.parse(member.log_key)
    said: list[str] = []
    try:
        url = f"{member.url.rstrip('/')}/checkpoint"
        found = await fetched_checkpoint(session, url, [key], key.name)
        if found is None:
            return [f"{_WRONG}: its log shows no checkpoint"]
        note, state = found
        cosigned = open_cosigned(note, quorum)
    except (OSError, Malformed, Unproven) as error:
        return [f"{_WRONG}: its log {error}"]
    age = int(time.time()) - quorum_time(quorum, cosigned)
    line = f"{state.size:,} entries, cosigned by {len(cosigned.times)} of {len(quorum.witnesses)}"
    said.append(f"{line}, {age} s ago" if cosigned.times else line)
    if not quorum.met_by(cosigned.times) or (quorum.witnesses and age > _OLD_SECONDS):
        said.append(f"{_WRONG}: no quorum cosigned it lately")
    for witness in quorum.witnesses.values():
        try:
            seen = await seen_by(session, witness.url or "", [key], key.name)
        except OSError as error:
            said.append(f"{_WRONG}: witness {witness.name} {error}")
            continue
        if seen is None:
            said.append(f"{_WRONG}: witness {witness.name} has cosigned nothing of it")
        elif seen[1].size == state.size and seen[1].root != state.root:
            said.append(f"{_WRONG}: witness {witness.name} saw another history of as many entries")
    return said


def _write(file: Path, text: str) -> None:
    try:
        durable.replace(file, text.encode())
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be written") from error


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be read") from error
