"""The streaming upstream: `python -m benchmarks.stream_upstream PORT` answers each POST with 100 chunks, 10 ms apart.

Each chunk carries its number and the CLOCK_MONOTONIC time it was sent at, which any process of the machine can compare.
"""

import asyncio
import json
import sys
import time

CHUNKS = 100
INTERVAL = 0.010
FILLER = ' lorem ipsum dolor sit'
HEAD = (b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n'
        b'Transfer-Encoding: chunked\r\n\r\n')
EVENT = ('data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1763600000,"model":"bench-stream",'
         '"choices":[%s]%s}\n\n')
USAGE = ',"usage":{"prompt_tokens":20,"completion_tokens":100,"total_tokens":120}'
MODELS = json.dumps({'object': 'list', 'data': [{'id': 'bench-stream', 'object': 'model'}]}).encode()


async def serve(port: int) -> None:
    server = await asyncio.start_server(_serve_connection, '127.0.0.1', port)
    async with server:
        await server.serve_forever()


async def _serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while not writer.is_closing():
            method, body = await _read_request(reader)
            if method == b'POST':
                await _answer(writer, with_usage=b'"include_usage"' in body)
            else:
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s'
                             % (len(MODELS), MODELS))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client closed its connection, as clients do
    finally:
        writer.close()


async def _read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b'\r\n\r\n')
    for line in head.split(b'\r\n'):
        name, _, value = line.partition(b':')
        if name.lower() == b'content-length':
            return head.split(b' ', 1)[0], await reader.readexactly(int(value))
    return head.split(b' ', 1)[0], b''


async def _answer(writer: asyncio.StreamWriter, *, with_usage: bool) -> None:
    writer.write(HEAD)
    start = time.monotonic()
    for number in range(CHUNKS):
        await asyncio.sleep(start + number * INTERVAL - time.monotonic())
        if writer.is_closing():
            return
        writer.write(_frame(build_chunk(number, time.monotonic_ns())))
    end = _frame(EVENT % ('{"index":0,"delta":{},"finish_reason":"stop"}', ''))
    if with_usage:
        end += _frame(EVENT % ('', USAGE))
    writer.write(end + _frame('data: [DONE]\n\n') + b'0\r\n\r\n')


def build_chunk(number: int, sent_ns: int) -> str:
    delta = '{"role":"assistant","content":"%d %d%s"}' if number == 0 else '{"content":"%d %d%s"}'
    return EVENT % ('{"index":0,"delta":%s,"finish_reason":null}' % (delta % (number, sent_ns, FILLER)), '')


def _frame(event: str) -> bytes:
    return b'%x\r\n%s\r\n' % (len(event), event.encode())


if __name__ == '__main__':
    asyncio.run(serve(int(sys.argv[1])))
