"""The id a request goes by, in its answer's headers and in the log."""

import re
import secrets

from flask import request

HEADER = 'X-Request-Id'
SANE = re.compile(r'[A-Za-z0-9._:-]{1,128}').fullmatch


def request_id() -> str:
    """The client's own id where it is fit to be put into headers and logs, else a new one."""
    own = request.headers.get(HEADER, '')
    return own if SANE(own) else f'req_{secrets.token_hex(16)}'
