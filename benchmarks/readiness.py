"""Waits until a started product answers as it should."""

import http.client
import time

from benchmarks.http_request import MARKER, HTTPRequest
from benchmarks.processes import NotRun, Processes

INTERVAL = 0.05


def wait_until_answers(request: HTTPRequest, processes: Processes, timeout: float) -> None:
    """Until an answer is 200 with the upstream's text. Raises NotRun with the last one seen after `timeout` seconds, or
    as soon as the product has ended."""
    deadline = time.monotonic() + timeout
    while True:
        answer = _ask(request)
        if not answer:
            return
        if processes.has_ended():
            raise NotRun('it ended before it answered')
        if time.monotonic() > deadline:
            raise NotRun(f'no answer within {timeout:.0f} s: {answer}')
        time.sleep(INTERVAL)


def _ask(request: HTTPRequest) -> str:
    """Nothing when the answer is right, else what was wrong."""
    connection = http.client.HTTPConnection('127.0.0.1', request.port, timeout=10)
    try:
        connection.request('POST', request.path, request.body, request.all_headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return f'{type(error).__name__}: {error}'
    finally:
        connection.close()
    right = response.status == 200 and MARKER in body
    return '' if right else f'HTTP {response.status} {body[:160].decode(errors="replace")}'
