"""`python -m benchmarks`: measures the products and prints the table."""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

from benchmarks.figures import build_figures
from benchmarks.machine import describe_machine
from benchmarks.measurement import Loads, Row, measure_direct, measure_product
from benchmarks.processes import NotRun, Processes, find_free_port
from benchmarks.product import Site
from benchmarks.products import PRODUCTS
from benchmarks.report import build_report, save_report
from benchmarks.upstream import Upstream, start_upstream


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        machine = describe_machine(options.litellm, options.portkey)
        machine['load'] = (f'{options.seconds:g} s each: {options.clients} connections of plain requests, '
                           f'{options.streams} concurrent streams; {options.messages} messages a request')
        with TemporaryDirectory(prefix='llmhost-bench-') as folder:
            all_figures = build_figures(_measure_all(options, Path(folder)))
    except NotRun as error:
        print(f'nothing was measured: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    print(build_report(machine, all_figures))
    if options.json:
        save_report(options.json, machine, all_figures)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__,
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    names = [product.name for product in PRODUCTS]
    parser.add_argument('--only', action='append', choices=names, metavar='NAME',
                        help=f'measure this one (may be repeated): {", ".join(names)}')
    parser.add_argument('--seconds', type=float, default=5.0, metavar='S', help='length of each load')
    parser.add_argument('--clients', type=int, default=16, metavar='N', help='keep-alive connections, plain requests')
    parser.add_argument('--streams', type=int, default=64, metavar='N', help='concurrent streams')
    parser.add_argument('--messages', type=int, default=2, metavar='N', help='messages in each request')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write every figure to this file too')
    parser.add_argument('--litellm', default=shutil.which('litellm'), metavar='PATH', help="LiteLLM's command")
    parser.add_argument('--portkey', type=Path, default=Path.cwd(), metavar='DIR',
                        help='the folder whose node_modules has @portkey-ai/gateway')
    return parser


def _measure_all(options: argparse.Namespace, folder: Path) -> list[Row]:
    loads = Loads(options.clients, options.streams, options.seconds)
    with _open_processes(folder, 'upstream') as processes:
        upstream = start_upstream(processes)
        _tell('direct')
        rows = [measure_direct(_build_site(options, processes, upstream), loads)]
        for product in PRODUCTS:
            if not options.only or product.name in options.only:
                _tell(product.name)
                with _open_processes(folder, product.name) as own:
                    rows.append(measure_product(product, _build_site(options, own, upstream), loads))
    return rows


def _open_processes(folder: Path, name: str) -> Processes:
    own = folder / name
    own.mkdir()
    return Processes(own)


def _build_site(options: argparse.Namespace, processes: Processes, upstream: Upstream) -> Site:
    return Site(processes, upstream, find_free_port(), options.messages, options.litellm, options.portkey)


def _tell(name: str) -> None:
    print(f'measuring {name} ...', file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Stops once; a second Ctrl-C must not cut short the stopping of what was started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(main())
