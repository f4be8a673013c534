"""Plain HTTP/1.1, one connection a call, every line seen as it comes."""
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from fake_upstream import FakeUpstream, Request

CHAT = '/v1/chat/completions'
TIMEOUT = 20.0


class Call:
    """A request that was sent. Close it, or leave its `with` block: the connection is cut."""

    def __init__(self, url: str, payload: Any = None, headers: Mapping[str, str] | None = None,
                 timeout: float = TIMEOUT, method: str | None = None):
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or '', parts.port, timeout=timeout)
        body = None if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.connection.request(method or ('GET' if body is None else 'POST'), parts.path, body,
                                {'Content-Type': 'application/json', **(headers or {})})
        self._response: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def response(self) -> http.client.HTTPResponse:
        """The answer's head; waits for it."""
        if self._response is None:
            self._response = self.connection.getresponse()
        return self._response

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> http.client.HTTPMessage:
        return self.response.headers

    @property
    def local_port(self) -> int:
        return self.connection.sock.getsockname()[1]

    def read(self) -> bytes:
        return self.response.read()

    def json(self) -> Any:
        return json.loads(self.read())

    def iter_lines(self) -> Iterator[str]:
        """The lines of the body, each as soon as it is there; empty ones are left out."""
        while line := self.response.readline():
            if line.strip():
                yield line.decode().rstrip('\r\n')

    def iter_data(self) -> Iterator[str]:
        """What stands behind `data: ` in each event, comments left out."""
        for line in self.iter_lines():
            if line.startswith('data: '):
                yield line.removeprefix('data: ')

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self.connection.close()


def build_chat(model: str, **fields: Any) -> dict[str, Any]:
    return {'model': model, 'messages': [{'role': 'user', 'content': 'Hello'}], **fields}


def list_chats(upstream: FakeUpstream) -> list[Request]:
    """The chat completions it was asked for; the gateway asks it for its models too."""
    return [request for request in upstream.requests if request.path == CHAT]


def wait_for_chat(upstream: FakeUpstream) -> None:
    """Until it has been asked for a chat completion."""
    upstream.wait_until(list_chats, 5)


def wait_for_departure(upstream: FakeUpstream, timeout: float = 5.0) -> float:
    """When (time.monotonic) its first chat completion saw its client leave; waits for that."""
    def departures() -> list[float]:
        return [request.gone_at for request in list_chats(upstream) if request.gone_at]
    upstream.wait_until(lambda _: departures(), timeout)
    return departures()[0]


def build_chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    """One chunk of an upstream's stream."""
    choice = {'index': 0, 'delta': {'content': text}, 'finish_reason': finish}
    return {'id': 'chatcmpl-1', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm1', 'choices': [choice]}


def chat(url: str, model: str, timeout: float = TIMEOUT, **fields: Any) -> Call:
    """A chat completion asked of the gateway at `url`."""
    return Call(url + CHAT, build_chat(model, **fields), timeout=timeout)


def list_models(url: str) -> set[str]:
    with Call(f'{url}/v1/models') as call:
        return {model['id'] for model in call.json()['data']}


def run_at_once(count: int, work: Any) -> list[Any]:
    """What `work(number)` returned, `count` times, each in a thread, all let go at the same moment."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = work(number)
        except Exception as error:  # shown by the test's own assertion
            results[number] = error
    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
