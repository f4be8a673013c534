"""`flask top`: what goes on in the running llmhost."""

import math
import sys
import time

import click
from flask.cli import with_appcontext

from llmhost.cli.output import api_key_env_option, failing_clearly, has_colour, json_option, print_json, services
from llmhost.cli.screen import Screen
from llmhost.cli.top_page import render
from llmhost.services import Overview, Snapshot

SNAPSHOT_WIDTH = 200


def check_number(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """`nan` lies in every range."""
    if math.isnan(value):
        raise click.BadParameter('is a number of seconds.')
    return value


@click.command('top')
@click.option(
    '--interval', type=click.FloatRange(0.1, 3600), default=1.0, metavar='S', callback=check_number,
    help='Seconds between looks (default 1).')
@click.option('--once', is_flag=True, help='Print one snapshot, its rates measured over the interval.')
@api_key_env_option
@json_option
@with_appcontext
@failing_clearly
def command(interval: float, once: bool, api_key_env: str | None, as_json: bool) -> None:
    """Watch the running llmhost: servers, requests, queues, tokens/s. Ends with q or Ctrl-C.

    One snapshot where standard output is no terminal.
    """
    parts = services()
    overview = parts.open_overview(api_key_env)
    snapshot = overview.look()
    if not (once or as_json) and sys.stdin.isatty() and sys.stdout.isatty() and parts.config.variables.get('TERM') != 'dumb':
        watch(overview, snapshot, interval, has_colour(parts.config))
        return
    time.sleep(interval)
    snapshot = overview.look()
    if as_json:
        print_json(snapshot)
    else:
        click.echo('\n'.join(render(snapshot, SNAPSHOT_WIDTH, None, coloured=False)))


def watch(overview: Overview, snapshot: Snapshot, interval: float, coloured: bool) -> None:
    """Draw until the person has seen enough."""
    with Screen() as screen:
        def draw() -> None:
            columns, lines = screen.size()
            screen.show(render(snapshot, columns, lines, coloured), lines)
        try:
            draw()
            while screen.wait(interval, draw) not in ('q', 'Q', '\x03', '\x1b'):
                snapshot = overview.try_look()
                draw()
        except KeyboardInterrupt:
            pass
