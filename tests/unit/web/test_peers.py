"""What the HTTP library may say of its peers."""

import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage, InvalidURLError, LineTooLong

from sharegate.web.peers import peer_logger

CANARY = "canary\nevent"


def said(caplog, error):
    logger = peer_logger()
    with caplog.at_level(logging.DEBUG, logger.name):
        try:
            raise error
        except type(error):
            logger.exception("Error handling request from %s", "192.0.2.7")
    return caplog.text


@pytest.mark.parametrize(
    "error",
    [
        BadHttpMessage(CANARY),
        InvalidURLError(CANARY),
        LineTooLong(CANARY.encode(), 8190),
        ConnectionResetError(CANARY),
    ],
)
def test_a_peers_own_fault_is_not_written(caplog, error):
    assert said(caplog, error) == ""


def test_our_own_fault_is_written_without_what_it_was_about(caplog):
    text = said(caplog, ValueError(CANARY))
    assert "ValueError at" in text
    assert "test_peers.py" in text
    assert "canary" not in text


def test_asking_twice_gives_one_filter():
    assert peer_logger() is peer_logger()
    assert len(peer_logger().filters) == 1


def test_a_plain_line_stays(caplog):
    with caplog.at_level(logging.INFO):
        peer_logger().info("listening")
    assert "listening" in caplog.text
