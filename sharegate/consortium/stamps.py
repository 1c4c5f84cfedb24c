"""Time stamps over checkpoints: somebody else's word that the log was so long at that moment.

RFC 3161, asked over HTTP (its section 3.4). A stamp lies beside the log's files, in `stamps/`: the
authority's response and the note that it is over, named by the number of entries. What is stamped
is the whole note, with the cosignatures under it.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import aiohttp
from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from sharegate import durable
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.reading import read_file
from sharegate.consortium.remote import NotFetched
from sharegate.errors import Misconfigured, ShareGateError

FOLDER: Final = "stamps"
_MOST_BYTES: Final = 64 * 1024
_OK: Final = 200
_HEADERS: Final = {"Content-Type": "application/timestamp-query"}


class NotStamped(ShareGateError):
    """A response is no time stamp over what was asked, by an authority that is trusted."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A checkpoint, and when it was there.

    Attributes:
        at: By the authority's clock.
    """

    checkpoint: Checkpoint
    at: datetime


def read_roots(path: Path) -> tuple[x509.Certificate, ...]:
    """Read the certificates of the authorities that are trusted.

    Raises:
        Misconfigured: The file cannot be read, or has none (PEM).
    """
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error
    except ValueError as error:
        raise Misconfigured(str(path), "has no certificates (PEM)") from error


async def ask_for_stamp(
    session: aiohttp.ClientSession, url: str, note: bytes, roots: tuple[x509.Certificate, ...]
) -> tuple[bytes, datetime]:
    """Have an authority stamp a note; give its response, verified, and the moment in it.

    Raises:
        NotFetched: The authority gives no answer.
        NotStamped: What it gives is not a stamp over this note, or is not to be trusted.
    """
    request = (
        TimestampRequestBuilder()
        .data(note)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    try:
        async with session.post(
            url, data=request.as_bytes(), headers=_HEADERS, allow_redirects=False
        ) as answer:
            data = await answer.content.read(_MOST_BYTES)
            if answer.status != _OK:
                raise NotFetched(f"answers {answer.status}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotFetched(f"gives no answer ({type(error).__name__})") from error
    return data, _verified(data, note, roots, VerifierBuilder.from_request(request))


def keep_stamp(directory: Path, note: bytes, size: int, response: bytes) -> None:
    """Keep a stamp beside the log's files, durably.

    Raises:
        OSError: It may not be durable.
    """
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    durable.replace(folder / f"{size}.checkpoint", note)
    durable.replace(folder / f"{size}.tsr", response)


def read_stamps(
    directory: Path, key: VerifierKey, roots: tuple[x509.Certificate, ...]
) -> list[Stamp]:
    """Read and verify every stamp beside a log's files, the shortest log first.

    That the log still has the checkpoints is not judged.

    Raises:
        NotStamped: One is missing, or is not of this log, or is not what it says.
    """
    stamps = []
    for path in (directory / FOLDER).glob("*.tsr"):
        try:
            note = read_file(path.with_suffix(".checkpoint"))
            checkpoint = open_checkpoint(note, [key], key.name)
            at = _verified(read_file(path), note, roots, VerifierBuilder())
        except OSError as error:
            raise NotStamped(f"{error.filename}: {error.strerror}") from error
        except (Malformed, Unproven, NotStamped) as error:
            raise NotStamped(f"{path}: {error}") from error
        stamps.append(Stamp(checkpoint, at))
    return sorted(stamps, key=lambda stamp: stamp.checkpoint.size)


def _verified(
    data: bytes, note: bytes, roots: tuple[x509.Certificate, ...], builder: VerifierBuilder
) -> datetime:
    """The moment in a response that is a stamp over this note, by whom the roots vouch for."""
    try:
        response: TimeStampResponse = decode_timestamp_response(data)
        for root in roots:
            builder = builder.add_root_certificate(root)
        builder.build().verify_message(response, note)
    except (VerificationError, ValueError) as error:
        raise NotStamped(f"no time stamp over this checkpoint: {error}") from error
    moment: datetime = response.tst_info.gen_time
    return moment
