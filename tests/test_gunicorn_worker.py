"""The worker's client sockets."""

import errno
import time

import gevent
import pytest
from gevent import socket

from llmhost.gunicorn_worker import ClientSocket

SIZE = 4_000_000


class HastySocket(ClientSocket):
    __slots__ = ()
    send_timeout = 0.2


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    ours.__class__ = HastySocket
    with ours, theirs:
        yield ours, theirs


def test_client_that_does_not_read_counts_as_gone(ends):
    started = time.monotonic()
    with pytest.raises(BrokenPipeError) as caught:
        ends[0].sendall(b'x' * SIZE)
    assert caught.value.errno == errno.EPIPE
    assert time.monotonic() - started < 2


def test_client_that_reads_slowly_gets_everything(ends):
    sender = gevent.spawn(ends[0].sendall, b'x' * SIZE)
    received = 0
    while received < SIZE:
        received += len(ends[1].recv(500_000))
        gevent.sleep(0.05)
    sender.get(timeout=2)
    assert received == SIZE
