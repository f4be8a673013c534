"""Bodies nobody will read: a request that was refused early must not have its client send on for nothing."""

import time
from contextlib import suppress
from functools import partial
from socket import SHUT_RDWR, SHUT_WR
from typing import Any

from flask import Flask, Response, request

READ = 'llmhost.body_read'
"""Set in a request's environ once its body was read whole."""
LINGER_SECONDS = 2.0
LINGER_BLOCK = 262144
READ_ON_BYTES = 1048576
"""Up to here gunicorn reads a body to its end, and the connection goes on."""


def register(app: Flask) -> None:
    @app.after_request
    def end_connection(response: Response) -> Response:
        environ = request.environ
        if READ not in environ and (response.status_code == 413 or _is_long(environ)):
            response.call_on_close(partial(hang_up, environ))
        return response


def _is_long(environ: dict[str, Any]) -> bool:
    """Whether a body may still come that is not worth reading; one in chunks may have no end."""
    length = environ.get('CONTENT_LENGTH') or '0'
    return 'HTTP_TRANSFER_ENCODING' in environ or not length.isdecimal() or int(length) > READ_ON_BYTES


def hang_up(environ: dict[str, Any]) -> None:
    """End a connection whose client may still be sending a body nobody will read.

    What it sends is thrown away for a while: closing at once would make the client's system throw the answer away
    (RFC 9112 §9.6).
    """
    connection = environ.get('gunicorn.socket')
    if connection is None:
        return
    end = time.monotonic() + LINGER_SECONDS
    with suppress(OSError):
        connection.shutdown(SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(LINGER_BLOCK):
                break
            time.sleep(0)  # a fast sender must not keep the worker to itself
    with suppress(OSError):
        connection.shutdown(SHUT_RDWR)
