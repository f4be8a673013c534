"""Managed servers, as leases start, share, swap and stop them: real processes."""
import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmhost.config import Config
from llmhost.errors import LLMHostError
from llmhost.host.board import StatusBoard
from llmhost.host.desk import LeaseDesk
from llmhost.host.engines import Engines
from llmhost.host.leases import Lease
from llmhost.host.memory import available_bytes
from llmhost.schemas import load_server
from llmhost.storage.servers import Server, server_from
from llmhost.storage.status import DOWN, LOADING, STOPPED, UP, StatusFile
from tests.e2e.processes import find_process, wait_until
from tests.host.conftest import HostUnderTest, stub
from tests.host.lease_client import LeaseClient


def client_of(host: HostUnderTest) -> LeaseClient:
    return LeaseClient(host.config.lease_socket)


def pid_at(url: str) -> int:
    return int(httpx2.get(f'{url}/pid', trust_env=False).json()['pid'])


def starts_in(path: Path) -> int:
    return path.read_text().count('start') if path.exists() else 0


def use_once(host: HostUnderTest, name: str) -> int:
    """Ask, use and give back; the pid of the server that answered."""
    with client_of(host) as client:
        return pid_at(client.acquire(name)['url'])


def ask_once(host: HostUnderTest, name: str) -> dict[str, Any]:
    with client_of(host) as client:
        return client.acquire(name)


def test_a_lease_starts_the_server_and_says_that_it_loads(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub(f'gate={tmp_path / "gate"}'))
    with client_of(host) as client:
        client.ask('local')
        assert client.answer() == {'loading': True}
        assert host.client.get('/leases').json()['local']['waiting'] == {'': 1}
        (tmp_path / 'gate').touch()
        assert pid_at(client.answer()['url']) == host.wait_for_state('local', UP).pid
        client.release()
        client.ask('local')
        assert 'url' in client.answer(), 'it does not load any more'


def test_forty_askers_share_one_start_and_all_get_a_turn(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local={**stub(f'starts={tmp_path / "starts"}'), 'max_concurrency': 4})
    with ThreadPoolExecutor(40) as pool:
        pids = set(pool.map(lambda _: use_once(host, 'local'), range(40)))
    assert len(pids) == 1
    assert starts_in(tmp_path / 'starts') == 1


def test_memory_and_capacity_of_what_runs_are_shown(host: HostUnderTest) -> None:
    host.servers(local=stub(), model={'gguf': '/no/such/model.gguf'}, lan={'url': 'http://127.0.0.1:1'})
    use_once(host, 'local')
    leases = host.client.get('/leases').json()
    assert leases['local']['memory'] > 1_000_000
    assert (leases['model']['capacity'], leases['model']['memory']) == (4, None)
    assert 'lan' not in leases


def test_a_failed_start_tells_all_who_wait_why(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local={**stub('fail=broken', f'starts={tmp_path / "starts"}'), 'max_concurrency': 1})
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask_once(host, 'local'), range(20)))
    assert {answer['error']['code'] for answer in answers} == {'server_not_started'}
    [message] = {answer['error']['message'] for answer in answers}
    assert message.startswith("'local' did not start: It ended with status 3;")
    assert 'broken' in (host.wait_for_state('local', DOWN).error or '')
    assert starts_in(tmp_path / 'starts') <= 3, 'one start for all who wait'


def test_a_model_larger_than_the_memory_is_refused_before_it_starts(host: HostUnderTest, tmp_path: Path) -> None:
    model, free = tmp_path / 'large.gguf', available_bytes()
    assert free is not None
    with model.open('wb') as file:
        file.truncate(free + (4 << 30))
    host.servers(local={'gguf': str(model)})
    refusal = host.refusal('local')
    assert refusal.startswith("'local' did not start: It needs about ")
    assert refusal.endswith(' GB are free.')
    assert host.wait_for_state('local', DOWN).pid is None


def test_an_idle_server_is_stopped_and_starts_again(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local={**stub(f'starts={tmp_path / "starts"}'), 'idle_ttl': 0.2})
    pid = use_once(host, 'local')
    host.wait_for_state('local', STOPPED)
    assert find_process(pid) is None
    assert use_once(host, 'local') != pid
    assert starts_in(tmp_path / 'starts') == 2


def test_a_server_in_use_is_not_idle(host: HostUnderTest) -> None:
    host.servers(local={**stub(), 'idle_ttl': 0.1})
    with client_of(host) as client:
        pid = pid_at(client.acquire('local')['url'])
        time.sleep(0.4)
        assert find_process(pid) is not None
    wait_until(lambda: find_process(pid) is None, 2, 'the stop')


def test_a_start_by_hand_counts_as_use(host: HostUnderTest) -> None:
    host.servers(local={**stub(), 'idle_ttl': 0.3})
    pid = pid_at(host.url('local'))
    wait_until(lambda: find_process(pid) is None, 2, 'the stop')


def test_a_time_to_live_that_is_set_later_counts(host: HostUnderTest) -> None:
    host.servers(local=stub())
    pid = use_once(host, 'local')
    host.servers(local={**stub(), 'idle_ttl': 0.1})
    wait_until(lambda: find_process(pid) is None, 2, 'the stop')
    host.wait_for_state('local', STOPPED)


def test_a_lease_that_comes_while_the_server_stops_waits_for_its_return(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local={**stub(f'slow_end={tmp_path / "ending"}'), 'idle_ttl': 0})
    pid = use_once(host, 'local')
    wait_until((tmp_path / 'ending').exists, 5, 'the stop')
    assert find_process(pid) is not None
    assert use_once(host, 'local') != pid


def test_a_lease_after_the_server_was_killed_waits_for_the_new_one(host: HostUnderTest) -> None:
    host.servers(local={**stub(), 'max_concurrency': 1})
    with client_of(host) as ann, client_of(host) as bob:
        pid = pid_at(ann.acquire('local')['url'])
        bob.ask('local')
        os.kill(pid, signal.SIGKILL)
        host.wait_for_status('local', lambda status: status.pid != pid)
        ann.release()
        assert pid_at(bob.final_answer()['url']) != pid


def test_leases_that_wait_stay_while_the_entry_changes(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub(f'gate={tmp_path / "never"}'))
    with client_of(host) as client:
        client.ask('local')
        host.wait_for_state('local', LOADING)
        host.servers(local=stub())
        assert pid_at(client.final_answer()['url'])


class Group:
    """A desk with servers of one memory group, in this process's own loop."""

    def __init__(self, config: Config, folder: Path, names: str, patience: float, **entries: dict[str, Any]) -> None:
        self.folder = folder
        self.engines = Engines(config, StatusBoard(StatusFile(config.data_dir / 'status.json')))
        self.desk = LeaseDesk(config, self.engines, patience)
        self.stopped_in_use = 0
        self.order: list[str] = []
        self.follow({name: self.entry(name, **entries.get(name, {})) for name in names})

    def entry(self, name: str, **fields: Any) -> Server:
        options = f'alone={self.folder / "group"}', f'starts={self.folder / name}'
        document = {'name': name, **stub(*options), 'memory_group': 'gpu', 'max_concurrency': 1, **fields}
        return server_from(load_server(document))

    def follow(self, servers: dict[str, Server]) -> None:
        self.engines.follow(servers)
        self.desk.follow(servers)

    async def use(self, name: str, seconds: float = 0.02) -> None:
        """Take a lease, hold it, and see whether its process lives until the end."""
        granted: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        lease = Lease(name, None, time.monotonic(), granted.set_result, granted.set_exception)
        try:
            self.desk.ask(lease)
            url = await granted
            self.order.append(name)
            await asyncio.sleep(seconds)
            self.stopped_in_use += self.engines.url(name) != url
        finally:
            self.desk.leave(lease)

    async def use_in_turn(self, name: str, times: int) -> None:
        for _ in range(times):
            await self.use(name)

    @property
    def starts(self) -> Counter[str]:
        return Counter({path.name: starts_in(path) for path in self.folder.iterdir() if len(path.name) == 1})

    async def close(self) -> None:
        self.desk.close()
        await self.engines.stop()
        assert not (self.folder / 'group.crowd').exists()
        assert not self.stopped_in_use


async def gather_in(group: Group, *uses: Coroutine[Any, Any, None]) -> None:
    try:
        await asyncio.wait_for(asyncio.gather(*uses), 20)
    finally:
        await group.close()


def test_interleaved_leases_of_a_group_need_one_swap(config: Config, tmp_path: Path) -> None:
    async def scenario() -> Group:
        group = Group(config, tmp_path, 'ab', patience=10)
        await gather_in(group, *(group.use(name) for name in 'ab' * 20))
        return group

    group = asyncio.run(scenario())
    assert group.order == ['a'] * 20 + ['b'] * 20
    assert group.starts == {'a': 1, 'b': 1}


def test_a_group_that_is_always_busy_swaps_as_patience_asks(config: Config, tmp_path: Path) -> None:
    async def scenario() -> tuple[Group, float]:
        group, began = Group(config, tmp_path, 'ab', patience=0.3), time.monotonic()
        await gather_in(group, *(group.use_in_turn(name, 8) for name in 'ab' * 4))
        return group, time.monotonic() - began

    group, seconds = asyncio.run(scenario())
    assert Counter(group.order) == {'a': 32, 'b': 32}
    assert 3 <= group.starts.total() <= seconds / 0.3 + 2
    assert 'b' in group.order[:32], 'b waits for no more than its patience'


def test_three_models_of_a_group_are_served_in_turn(config: Config, tmp_path: Path) -> None:
    async def scenario() -> Group:
        group = Group(config, tmp_path, 'abc', patience=0.05)
        await gather_in(group, *(group.use_in_turn(name, 3) for name in 'aaabbbccc'))
        return group

    order = asyncio.run(scenario()).order
    turns = [name for name, before in zip(order, [None, *order], strict=False) if name != before]
    while_all_wait = turns[:turns.index('c') + 1]
    assert while_all_wait == ['a', 'b', 'c']


def test_a_lease_in_use_is_waited_for_before_a_swap(config: Config, tmp_path: Path) -> None:
    async def scenario() -> Group:
        group = Group(config, tmp_path, 'ab', patience=0.01)
        await gather_in(group, group.use('a', seconds=0.5), group.use('b'))
        return group

    assert asyncio.run(scenario()).order == ['a', 'b']


def test_a_model_of_a_group_that_cannot_start_does_not_block_the_others(config: Config, tmp_path: Path) -> None:
    async def scenario() -> Group:
        group = Group(config, tmp_path, 'ab', patience=0.1, a={'command': 'no-such-program {port}'})
        with pytest.raises(LLMHostError, match="'a' did not start"):
            await asyncio.gather(group.use('a'), waits := asyncio.create_task(group.use('b')))
        await gather_in(group, waits)  # type: ignore[arg-type]
        return group

    assert asyncio.run(scenario()).order == ['b']


def test_those_that_leave_while_their_model_loads_make_room(config: Config, tmp_path: Path) -> None:
    async def scenario() -> Group:
        group = Group(config, tmp_path, 'ab', patience=10, a=stub(f'gate={tmp_path / "never"}'))
        leaving = asyncio.create_task(group.use('a'))
        await asyncio.sleep(0.2)
        waits = asyncio.create_task(group.use('b'))
        await asyncio.sleep(0)
        leaving.cancel()
        await gather_in(group, waits)  # type: ignore[arg-type]
        return group

    assert asyncio.run(scenario()).order == ['b']


def test_servers_put_into_one_group_while_they_run_are_parted(config: Config, tmp_path: Path) -> None:
    async def scenario() -> None:
        entries = {name: {'memory_group': None, **stub()} for name in 'ab'}
        group = Group(config, tmp_path, 'ab', 10, **entries)
        await asyncio.gather(group.use('a'), group.use('b'))
        assert group.engines.url('a') and group.engines.url('b')
        group.follow({name: group.entry(name, **{**entries[name], 'memory_group': 'gpu'}) for name in 'ab'})
        await asyncio.gather(group.use('a', 0.3), group.use('b'))
        assert not (group.engines.url('a') and group.engines.url('b'))
        await group.close()

    asyncio.run(scenario())


def test_a_changed_member_gives_way_before_another_starts(config: Config, tmp_path: Path) -> None:
    async def scenario() -> None:
        group = Group(config, tmp_path, 'ab', 10)
        await group.use('a')
        group.follow({'b': group.entry('b')})
        await gather_in(group, group.use('b'))

    asyncio.run(scenario())
