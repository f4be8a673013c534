"""What `flask top` is told, from sources that stand in for the gateway and the host."""

import pytest

from llmhost.errors import ConsoleError, UnavailableError, UpstreamBrokenError
from llmhost.gateway.overview import Overview, Rates, SeenError
from llmhost.storage.status import ServerStatus, Status

METRICS = '''# TYPE llmhost_requests_total counter
llmhost_requests_total{{server="one",status="200",task="chat"}} {good}
llmhost_requests_total{{server="one",status="503",task="chat"}} {bad}
llmhost_requests_total{{server="two",status="429",task="chat"}} 1
# TYPE llmhost_tokens_total counter
llmhost_tokens_total{{direction="prompt",server="one"}} {prompt}
llmhost_tokens_total{{direction="completion",server="one"}} {completion}
# TYPE llmhost_open_streams gauge
llmhost_open_streams 3
# TYPE llmhost_running_requests gauge
llmhost_running_requests 4
'''


class Sources:
    """The gateway, the host, the status file and the clock, all in one."""

    url = 'http://gateway'

    def __init__(self):
        self.time = 100.0
        self.health = {'host': 'up', 'servers': {'one': {'state': 'up', 'since': 1.0, 'error': None, 'models': 2},
                                                 'two': {'state': 'down', 'since': 2.0, 'error': 'Refused.', 'models': 0}}}
        self.counted = {'good': 10, 'bad': 1, 'prompt': 100, 'completion': 200}
        self.granted = {'one': {'capacity': 2, 'running': {'ann': 2}, 'waiting': {'bob': 1}, 'memory': 512}}
        self.status = Status({'two': ServerStatus('down', 2.0, 50.0, 'Refused.')})

    def get_document(self, path):
        if self.health is None:
            raise ConsoleError('No llmhost answers.')
        return self.health

    def get(self, path):
        return METRICS.format(**self.counted).encode() if self.counted else b'<html>{'

    def leases(self):
        if self.granted is None:
            raise UnavailableError('The host is away.')
        return self.granted

    def current(self):
        return self.status


@pytest.fixture
def sources():
    return Sources()


@pytest.fixture
def overview(sources):
    return Overview(sources, sources, sources, lambda: sources.time)


def test_look_joins_what_the_sources_say(overview):
    snapshot = overview.look()
    one, two = snapshot.servers
    assert (one.name, one.state, one.since, one.models, one.failed, one.memory) == ('one', 'up', 1.0, 2, 1, 512)
    assert (one.capacity, one.running, one.waiting) == (2, {'ann': 2}, {'bob': 1})
    assert (two.state, two.error, two.failed, two.running) == ('down', 'Refused.', 1, None)
    assert (snapshot.host, snapshot.open_streams, snapshot.running, snapshot.waiting) == ('up', 3, 4, None)
    assert snapshot.errors == [SeenError(50.0, 'two', 'Refused.')]


def test_rates_are_differences_by_the_second(overview, sources):
    assert overview.look().per_second == Rates()
    sources.time += 2
    sources.counted = {'good': 14, 'bad': 1, 'prompt': 110, 'completion': 300}
    snapshot = overview.look()
    assert snapshot.per_second == snapshot.servers[0].per_second == Rates(2.0, 5.0, 50.0)
    assert snapshot.servers[1].per_second == Rates(0.0, 0.0, 0.0)


def test_rates_reach_back_ten_seconds(overview, sources):
    for seconds in range(30):
        sources.time = 100.0 + seconds
        sources.counted['completion'] = 1000 if seconds < 15 else 2000
        rate = overview.look().per_second.completion_tokens
    assert rate == 0.0


def test_counters_begun_anew_are_no_negative_rate(overview, sources):
    overview.look()
    sources.time += 1
    sources.counted = dict.fromkeys(sources.counted, 0)
    assert overview.look().per_second == Rates(0.0, 0.0, 0.0)


def test_host_that_is_away_leaves_its_part_unknown(overview, sources):
    sources.granted = None
    assert [server.running for server in overview.look().servers] == [None, None]


def test_error_is_remembered_when_the_server_is_back(overview, sources):
    overview.look()
    sources.health['servers']['two'] = {'state': 'up', 'since': 60.0, 'error': None, 'models': 1}
    assert overview.look().errors == [SeenError(50.0, 'two', 'Refused.')]


def test_gateway_that_goes_away_is_a_fault_and_comes_back(overview, sources):
    overview.look()
    health, sources.health = sources.health, None
    gone = overview.try_look()
    assert (gone.fault, gone.servers, len(gone.errors)) == ('No llmhost answers.', [], 1)
    sources.health = health
    assert overview.try_look().fault is None


def test_metrics_of_something_else_are_refused(overview, sources):
    sources.counted = None
    with pytest.raises(UpstreamBrokenError, match='does not answer as an llmhost does'):
        overview.look()
