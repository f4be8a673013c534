"""Managed servers: real processes, started through the host's socket."""
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from llmhost.host.child import LOG_LIMIT_BYTES
from llmhost.storage.status import DISABLED, DOWN, LOADING, STOPPED, UP
from tests.e2e.processes import find_process, list_children, wait_until
from tests.host.conftest import HostUnderTest, stub


def pid_at(url: str) -> int:
    return int(httpx2.get(f'{url}/pid', trust_env=False).json()['pid'])


def is_gone(pid: int) -> bool:
    return find_process(pid) is None


def test_start_answers_the_url_of_a_server_that_is_ready(host: HostUnderTest) -> None:
    host.servers(local=stub())
    url = host.url('local')
    status = host.wait_for_state('local', UP)
    assert (status.url, status.pid) == (url, pid_at(url))
    assert [model['id'] for model in status.models] == ['local']


def test_a_managed_server_is_stopped_until_it_is_asked_for(host: HostUnderTest) -> None:
    host.servers(local=stub())
    assert host.wait_for_state('local', STOPPED).url is None


def test_twenty_askers_share_one_start(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub(f'starts={tmp_path / "starts"}', f'gate={tmp_path / "gate"}'))
    with ThreadPoolExecutor(20) as pool:
        urls = [pool.submit(host.url, 'local') for _ in range(20)]
        host.wait_for_state('local', LOADING)
        (tmp_path / 'gate').touch()
        assert len({url.result() for url in urls}) == 1
    assert (tmp_path / 'starts').read_text().count('start') == 1


def test_a_killed_server_runs_again_at_a_new_address(host: HostUnderTest) -> None:
    host.servers(local=stub())
    url = host.url('local')
    os.kill(pid_at(url), signal.SIGKILL)
    status = host.wait_for_status('local', lambda status: status.state == UP and status.url != url)
    assert pid_at(status.url or '') == status.pid


def test_a_start_right_after_the_server_was_killed_waits_for_the_new_one(host: HostUnderTest) -> None:
    host.servers(local=stub())
    pid = pid_at(host.url('local'))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), 2, 'the killed server')
    host.wait_for_status('local', lambda status: status.pid != pid)
    assert pid_at(host.url('local')) != pid


def test_a_server_whose_guard_is_killed_dies_with_its_children_and_runs_again(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub(f'spawn={tmp_path / "pid"}'))
    pid = pid_at(host.url('local'))
    grandchild = int((tmp_path / 'pid').read_text())
    process = find_process(pid)
    assert process is not None
    os.kill(process.parent, signal.SIGKILL)
    wait_until(lambda: is_gone(pid) and is_gone(grandchild), 2, 'the guarded processes')
    host.wait_for_status('local', lambda status: status.state == UP and status.pid != pid)


def test_a_server_that_ends_at_once_fails_the_start_and_its_words_are_in_the_status(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub('"fail=one\\ntwo\\nthree\\nfour\\n\x1b[31mfive\\nsix"', f'starts={tmp_path / "starts"}'))
    assert host.refusal('local') == (
        "'local' did not start: It ended with status 3; 'flask servers show local' and its log have the reason.")
    error = host.wait_for_state('local', DOWN).error
    assert error == "'local' did not start: It ended with status 3: two | three | four | five | six"
    assert 'its log' in host.refusal('local')
    assert (tmp_path / 'starts').read_text().count('start') == 2, 'it is tried when asked, and by itself never'


def test_a_server_that_keeps_failing_is_not_started_for_every_asker(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub('fail=broken', f'starts={tmp_path / "starts"}'))
    end = time.monotonic() + 30
    while (response := host.start('local')).headers.get('Retry-After') is None and time.monotonic() < end:
        assert response.status_code == 503
    for _ in range(100):
        assert 'ended with status 3' in host.refusal('local')
    assert (tmp_path / 'starts').read_text().count('start') <= 5


def test_a_program_that_does_not_exist_is_named(host: HostUnderTest) -> None:
    host.servers(local={'command': 'no-such-program --port {port}'})
    host.refusal('local')
    assert 'no-such-program: No such file or directory' in (host.wait_for_state('local', DOWN).error or '')


@pytest.mark.parametrize(('said', 'told'), [
    ('/models/a.gguf is not a GGUF file.', 'is not a GGUF file.'),
    ("The package xllamacpp is missing (No module named 'xllamacpp'): pip install", "pip install 'llmhost[local]'"),
])
def test_a_cause_that_llmhost_found_itself_is_told_to_those_who_asked(host: HostUnderTest, said: str, told: str) -> None:
    host.servers(local=stub(f'"fail={said}"'))
    assert told in host.refusal('local')
    assert '/models' not in host.refusal('local')


def test_what_a_server_wrote_while_it_was_used_is_quoted_nowhere(host: HostUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    host.servers(local=stub())
    with suppress(httpx2.TransportError):
        httpx2.get(f'{host.url("local")}/crash/my-secret-prompt', trust_env=False)
    told = "'local' ended with status 4; its log has more: run/logs/local.log"
    wait_until(lambda: told in caplog.text, 5, 'the crash in the log')
    assert 'my-secret-prompt' in (host.config.run_dir / 'logs' / 'local.log').read_text()
    own = [record.getMessage() for record in caplog.records if record.name.startswith('llmhost')]
    assert 'my-secret-prompt' not in ' '.join(own)


def test_a_command_that_cannot_be_split_is_refused(host: HostUnderTest) -> None:
    host.servers(local={'command': 'server "{port}'})
    assert 'No closing quotation' in host.refusal('local')


def test_a_server_that_is_not_ready_in_time_is_stopped(tmp_path: Path, impatient_host: HostUnderTest) -> None:
    host = impatient_host
    host.servers(local=stub(f'gate={tmp_path / "never"}'))
    assert 'not ready within 0.5 s' in host.refusal('local')
    assert list_children(os.getpid()) == []


@pytest.mark.parametrize('change', ['removed', 'disabled'])
def test_a_server_no_longer_wanted_is_stopped_and_reaped(host: HostUnderTest, tmp_path: Path, change: str) -> None:
    entry = stub(f'spawn={tmp_path / "pid"}')
    host.servers(local=entry)
    pid, grandchild = pid_at(host.url('local')), int((tmp_path / 'pid').read_text())
    host.servers(**{} if change == 'removed' else {'local': {**entry, 'enabled': False}})
    wait_until(lambda: is_gone(pid) and is_gone(grandchild) and not list_children(os.getpid()), 5, 'the stopped server')
    if change == 'disabled':
        host.wait_for_state('local', DISABLED)
        assert 'disabled' in host.refusal('local')
    else:
        host.refusal('local', 404)
        host.wait_for_status('local', lambda status: status.since is None)


def test_a_changed_entry_restarts_a_running_server(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub())
    pid = pid_at(host.url('local'))
    host.servers(local={**stub(f'environ={tmp_path / "environ"}'), 'models': ['renamed']})
    status = host.wait_for_status('local', lambda status: status.state == UP and status.pid != pid)
    assert is_gone(pid)
    assert [model['id'] for model in status.models] == ['renamed']


def test_a_change_that_does_not_touch_the_command_restarts_nothing(host: HostUnderTest) -> None:
    host.servers(local=stub())
    url = host.url('local')
    host.servers(local={**stub(), 'priority': 5}, other=stub())
    host.wait_for_state('other', STOPPED)
    assert host.url('local') == url


def test_stopping_the_host_stops_and_reaps_all(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(one=stub(), two=stub(f'spawn={tmp_path / "pid"}'))
    pids = [pid_at(host.url('one')), pid_at(host.url('two')), int((tmp_path / 'pid').read_text())]
    assert host.thread.stop()
    assert list_children(os.getpid()) == []
    wait_until(lambda: all(map(is_gone, pids)), 1, 'the children')


def test_a_server_that_ignores_the_request_to_end_is_killed(host: HostUnderTest) -> None:
    host.servers(local=stub('stubborn'))
    pid = pid_at(host.url('local'))
    assert host.thread.stop()
    assert is_gone(pid)


def test_stopping_the_host_tells_those_who_wait(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub(f'gate={tmp_path / "never"}'))
    with ThreadPoolExecutor(1) as pool:
        refusal = pool.submit(host.refusal, 'local')
        host.wait_for_state('local', LOADING)
        host.thread.stop()
        assert refusal.result() == "'local' was stopped."


def test_a_caller_that_leaves_does_not_stop_the_start(host: HostUnderTest, tmp_path: Path) -> None:
    host.servers(local=stub(f'gate={tmp_path / "gate"}'))
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(host.config.host_socket))
        caller.sendall(b'POST /servers/local/start HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n')
        host.wait_for_state('local', LOADING)
    (tmp_path / 'gate').touch()
    host.wait_for_state('local', UP)


def test_children_get_the_environment_without_keys(tmp_path: Path, host_with_keys: HostUnderTest) -> None:
    host = host_with_keys
    host.servers(local=stub(f'environ={tmp_path / "environ"}'), cloud={'url': 'http://127.0.0.1:9', 'api_key_env': 'CLOUD'})
    host.url('local')
    environment = json.loads((tmp_path / 'environ').read_text())
    assert environment['PATH'] == os.environ['PATH']
    assert environment['CUDA_VISIBLE_DEVICES'] == '1'
    assert not [name for name, value in environment.items() if 'secret' in value]


def test_a_long_log_is_moved_aside(host: HostUnderTest) -> None:
    log = host.config.run_dir / 'logs' / 'local.log'
    log.parent.mkdir(mode=0o700)
    log.write_bytes(b'x' * (LOG_LIMIT_BYTES + 1))
    host.servers(local=stub())
    host.url('local')
    assert log.stat().st_size < LOG_LIMIT_BYTES
    assert log.with_name('local.log.1').stat().st_size > LOG_LIMIT_BYTES
