"""A witness: cosigns a member's checkpoint if it adds to every one it cosigned before.

It keeps nothing of a log but its newest checkpoint, and that durably before its cosignature leaves;
the check and the remembering are one step for each log. What a log signed and cannot prove is kept
as evidence. C2SP tlog-witness (https://c2sp.org/tlog-witness); what is sent is judged by
`audit.witnessing`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from threading import Lock

from sharegate.audit import fork
from sharegate.audit.checkpoint import Checkpoint, encode, open_checkpoint
from sharegate.audit.checkpoint import parse as read_checkpoint
from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import Note, Signature, VerifierKey, parse
from sharegate.audit.note import encode as encode_note
from sharegate.audit.tree import EMPTY_ROOT
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.audit.witnessing import (
    Refused,
    Status,
    Submission,
    origin_of,
    require_consistent,
    require_signed,
)
from sharegate.audit.witnessing import parse as parse_submission
from sharegate.consortium.witness_memory import Forgotten, WitnessMemory, origin_hash
from sharegate.observe import Observer, WitnessAnswered, WitnessState


class Witness:
    """Cosigns for some logs. One of them at a time uses a memory."""

    def __init__(
        self,
        cosigners: Sequence[Cosigner],
        logs: Sequence[VerifierKey],
        memory: WitnessMemory,
        clock: Callable[[], float],
        observe: Observer,
    ) -> None:
        """Put it together.

        Args:
            cosigners: Its keys, all of one name; each signs every checkpoint.
            logs: The keys of the logs it cosigns for, each named as its origin.
            memory: What it remembers; seized.
            clock: Seconds of Unix time.
            observe: Told of every answer, and of logs it cannot cosign for.
        """
        self._cosigners = cosigners
        self._keys: Mapping[str, list[VerifierKey]] = {
            origin: [key for key in logs if key.name == origin]
            for origin in {key.name for key in logs}
        }
        self._origins = {origin_hash(origin): origin for origin in self._keys}
        # Of threads, not of tasks: a caller who is gone must not let the next one in half-way.
        self._turns = {origin: Lock() for origin in self._keys}
        self._restored: dict[str, str] = {}
        self._verified: dict[str, tuple[bytes, Checkpoint]] = {}
        self._memory = memory
        self._clock = clock
        self._observe = observe

    def look_back(self) -> None:
        """Say of which logs nothing is remembered; those are not cosigned for. Blocks."""
        for origin in self._keys:
            try:
                self._latest(origin)
            except Forgotten as error:
                self._observe(WitnessState(usable=False, detail=str(error)))

    def look_at(self, published: bytes) -> None:
        """Hold a note that a log publishes against what is remembered of that log. Blocks.

        Nobody else can make a line of this witness's: one over more than it remembers, or over
        another tree, shows that its memory is not its last. It cosigns nothing of that log then.
        """
        try:
            note = parse(published)
            state = read_checkpoint(note.text)
        except Malformed:
            return
        if state.origin not in self._keys or not self._has_own_line(note):
            return
        with self._turns[state.origin]:
            try:
                latest = self._latest(state.origin)
            except Forgotten:
                return  # which was said
            known = Checkpoint(state.origin, 0, EMPTY_ROOT) if latest is None else latest[1]
            if state.size > known.size or (state.size == known.size and state != known):
                detail = f"what is remembered of {state.origin} ends at {known.size}, but this "
                detail += f"witness has cosigned {state.size}: begin anew from its peers"
                self._restored[state.origin] = detail
                self._observe(WitnessState(usable=False, detail=detail))

    def _has_own_line(self, note: Note) -> bool:
        own = {(each.name, each.verifier.key_id): each.verifier for each in self._cosigners}
        text = note.text.encode()
        return any(
            own[line.name, line.key_id].accepts(text, line.signature)
            for line in note.signatures
            if (line.name, line.key_id) in own
        )

    async def add_checkpoint(self, body: bytes) -> bytes:
        """Answer `add-checkpoint`: cosignature lines, one for each key.

        Raises:
            Refused: It is not cosigned; says how to answer.
            Forgotten: What must be remembered of this log is not there.
        """
        status = Status.COSIGNED
        try:
            return await self._add(body)
        except Refused as refused:
            status = refused.status
            raise
        finally:
            self._observe(WitnessAnswered(status))

    def newest(self, hashed: str) -> bytes | None:
        """The note of the newest checkpoint cosigned, by the SHA-256 of its origin; None if none.

        Raises:
            Forgotten: What must be remembered of this log is not there.
        """
        origin = self._origins.get(hashed)
        return None if origin is None else self._memory.recall(origin)

    async def _add(self, body: bytes) -> bytes:
        try:
            submission = parse_submission(body)
            origin = origin_of(submission)
        except Malformed as error:
            raise Refused(Status.MALFORMED, str(error)) from error
        keys = self._keys.get(origin)
        if keys is None:
            # SPEC: If the checkpoint origin is unknown, [...] a "404 Not Found".
            raise Refused(Status.UNKNOWN, "this witness does not know this log")
        state = require_signed(submission, keys)
        return await asyncio.to_thread(self._follow, origin, submission, state)

    def _follow(self, origin: str, submission: Submission, state: Checkpoint) -> bytes:
        """Check, remember, and only then give cosignatures away; one at a time. Blocks."""
        with self._turns[origin]:
            return self._followed(origin, submission, state)

    def _followed(self, origin: str, submission: Submission, state: Checkpoint) -> bytes:
        remembered = self._latest(origin)
        latest = None if remembered is None else remembered[1]
        try:
            require_consistent(submission, state, latest)
        except Refused as refused:
            if refused.status is Status.INCONSISTENT and remembered is not None:
                self._keep_evidence(origin, remembered, submission, state)
            raise
        text, at = encode(state), int(self._clock())
        lines = [cosigner.cosign(text, at) for cosigner in self._cosigners]
        own = self._of_the_log(submission, origin)
        # SPEC: The witness MUST persist the new checkpoint before responding.
        note = encode_note(Note(text, (*own, *lines)))
        self._memory.remember(origin, note)
        self._verified[origin] = note, state  # as `require_signed` has found
        return "".join(line.line for line in lines).encode()

    def _latest(self, origin: str) -> tuple[bytes, Checkpoint] | None:
        """What was cosigned last; it must still be what the log signed."""
        if origin in self._restored:
            raise Forgotten(self._restored[origin])
        note = self._memory.recall(origin)
        if note is None:
            return None
        known = self._verified.get(origin)
        if known is not None and known[0] == note:
            return known
        try:
            known = note, open_checkpoint(note, self._keys[origin], origin)
        except (Malformed, Unproven) as error:
            raise Forgotten(f"what is remembered of {origin} is damaged: {error}") from error
        self._verified[origin] = known
        return known

    def _of_the_log(self, submission: Submission, origin: str) -> list[Signature]:
        """The lines by the log's own keys, which were checked; others may be anything."""
        known = {(key.name, key.key_id) for key in self._keys[origin]}
        lines = parse(submission.note).signatures
        return [line for line in lines if (line.name, line.key_id) in known]

    def _keep_evidence(
        self,
        origin: str,
        remembered: tuple[bytes, Checkpoint],
        submission: Submission,
        state: Checkpoint,
    ) -> None:
        """Keep what the log signed beside what it signed before, and the proof if it is one."""
        note, latest = remembered
        name = sha256(submission.note).hexdigest()[:32]
        if latest.size == state.size and latest.root != state.root:
            proof = fork.prove((note, submission.note), self._keys[origin], origin)
            self._memory.keep_evidence(origin, f"{name}.fork.json", fork.encode(proof))
            detail = f"{origin} signed two roots of size {state.size}"
            self._observe(WitnessState(usable=True, detail=detail))
        else:
            self._memory.keep_evidence(origin, f"{name}.note", submission.note)
