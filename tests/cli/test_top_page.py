"""The page of `flask top`, from snapshots."""

import time

import pytest

from llmhost.cli.top_page import render
from llmhost.gateway.overview import Rates, SeenError, ServerView, Snapshot

URL = 'http://127.0.0.1:4080'


def view(name='one', **fields):
    usual = {'state': 'up', 'since': None, 'error': None, 'until': None, 'models': 1, 'capacity': None, 'running': None,
             'waiting': None, 'memory': None, 'failed': 0, 'per_second': Rates()}
    return ServerView(name, **{**usual, **fields})


def page(*servers, width=200, height=None, coloured=False, **fields):
    return render(Snapshot(URL, time.time(), servers=list(servers), **fields), width, height, coloured)


def test_server_says_who_runs_and_who_waits():
    busy = view(capacity=2, running={'ann': 2}, waiting={'ann': 3, 'bob': 1}, memory=300 * 2**20, failed=7,
                per_second=Rates(1.25, 20.0, 123.4))
    _, _, _, titles, line = page(busy)
    assert titles.split()[:9] == ['SERVER', 'STATE', 'SINCE', 'RUN', 'WAIT', 'REQ/S', 'TOK/S', 'FAILED', 'MEMORY']
    assert line.split() == ['one', 'up', '-', '2/2', '4', '1.2', '123', '7', '300', 'MB', 'ann', '2+3,', 'bob', '0+1']


def test_all_who_wait_are_told_together_whatever_for():
    line = page(view(waiting={'ann': 3, '': 1}), view('two', waiting={'bob': 2}), running=4, slots=200, waiting=1)[1]
    assert line.startswith('requests 4 running of 200, 7 waiting ')


def test_what_is_not_known_is_a_dash():
    assert page(view())[-1].split() == ['one', 'up', '-', '-', '-', '-', '-', '-', '-']


def test_reason_stands_beside_a_server_that_cannot_be_used():
    assert page(view(state='down', error='Refused.\nTwice \x1b[2J.'))[-1].endswith('Refused. Twice [2J.')


def test_rate_limited_server_says_for_how_long():
    line = page(view(state='rate_limited', error='Slow down.', until=time.time() + 6.5))[-1]
    assert line.endswith('Slow down. (7 s more)')


def test_gateway_that_went_away_is_told():
    assert page(fault='No llmhost answers.')[-1] == 'No llmhost answers.'


@pytest.mark.parametrize('height', range(1, 40, 3))
@pytest.mark.parametrize('width', [10, 80])
def test_page_fits_the_screen_and_keeps_the_busy(height, width):
    servers = [view(f's{number:02}') for number in range(20)] + [view('zz', running={'ann': 1})]
    errors = [SeenError(1.0, 's00', 'Refused.')] * 9
    lines = page(*servers, width=width, height=height, errors=errors)
    assert all(len(line) <= width for line in lines)
    if height > 10:
        assert len(lines) <= height
        assert any(line.startswith('zz') for line in lines)


def test_states_have_colours_where_there_are_any():
    assert '\x1b[31mdown' in page(view(state='down'), coloured=True)[-1]
