"""A managed server for tests: `stub_server.py PORT [OPTION]…`. Any GET is answered 200 with its pid, but one of
`/crash…` is written down and ends it with status 4; options are

    fail=TEXT       write TEXT and end with status 3
    gate=FILE       503 until FILE exists
    spawn=FILE      start a process of its own, and write its pid to FILE
    starts=FILE     append a line to FILE at each start
    stubborn        ignore SIGTERM
    slow_end=FILE   asked to end, write FILE and take a moment
    environ=FILE    write the environment to FILE
    alone=FILE      append a line to FILE.crowd if another one with the same FILE runs
"""
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OPTIONS = dict(option.partition('=')[::2] for option in sys.argv[2:])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith('/crash'):
            print(self.path, flush=True)
            os._exit(4)
        ready = 'gate' not in OPTIONS or os.path.exists(OPTIONS['gate'])
        body = json.dumps({'pid': os.getpid()}).encode()
        self.send_response(200 if ready else 503)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def prepare() -> None:
    if 'starts' in OPTIONS:
        with open(OPTIONS['starts'], 'a') as file:
            file.write('start\n')
    if 'fail' in OPTIONS:
        print(OPTIONS['fail'].replace('\\n', '\n'))
        sys.exit(3)
    if 'stubborn' in OPTIONS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if 'slow_end' in OPTIONS:
        signal.signal(signal.SIGTERM, end_slowly)
    if 'spawn' in OPTIONS:
        Path(OPTIONS['spawn']).write_text(str(subprocess.Popen(['sleep', '1000']).pid))
    if 'alone' in OPTIONS:
        check_alone(OPTIONS['alone'])
    if 'environ' in OPTIONS:
        Path(OPTIONS['environ']).write_text(json.dumps(dict(os.environ)))


def end_slowly(*_: object) -> None:
    Path(OPTIONS['slow_end']).touch()
    time.sleep(0.3)
    os._exit(0)


def check_alone(path: str) -> None:
    """The kernel keeps the lock for as long as this process lives."""
    try:
        fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with open(path + '.crowd', 'a') as file:
            file.write('crowd\n')


if __name__ == '__main__':
    prepare()
    ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
