"""The fake upstream as a program: `python tests/fake_upstream --port 9001 --tokens 50 --gap 0.02`.

Prints `LISTENING http://127.0.0.1:9001` when ready; stops on SIGTERM or SIGINT, with --until-eof when its input
closes. With --greenlets it serves from greenlets instead of threads: for thousands of connections.
"""
import argparse
import resource
import select
import signal
import sys
import threading
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='fake_upstream')
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--model', action='append', dest='models', help='may be repeated')
    parser.add_argument('--strict-models', action='store_true')
    parser.add_argument('--text')
    parser.add_argument('--tokens', type=int, help='words in each answer')
    parser.add_argument('--gap', type=float, help='seconds between chunks')
    parser.add_argument('--delay', type=float, help='seconds before an answer starts')
    parser.add_argument('--api-key')
    parser.add_argument('--greenlets', action='store_true')
    parser.add_argument('--until-eof', action='store_true')
    return parser.parse_args()


def main() -> None:
    options = {name: value for name, value in vars(parse_arguments()).items() if value not in (None, False)}
    if options.pop('greenlets', False):
        from gevent import monkey
        monkey.patch_all()
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from fake_upstream import FakeUpstream  # after patching, so that the sockets are gevent's

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    until_eof = options.pop('until_eof', False)
    with FakeUpstream(**options) as upstream:
        print('LISTENING', upstream.url, flush=True)
        if until_eof:
            select.select([sys.stdin], [], [])
            sys.stdin.read()
        else:
            stopped.wait()


if __name__ == '__main__':
    main()
