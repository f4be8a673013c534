"""Fetching from a real server that misbehaves: it is resumed or refused, and never half there."""

import hashlib
import os
import random
import ssl
import subprocess
import threading
from collections import namedtuple
from dataclasses import replace

import pytest

from llmhost.errors import FetchError
from llmhost.upstream.sessions import UpstreamSession
from llmhost.weights import checks
from llmhost.weights.download import RETRIES, Downloader
from llmhost.weights.sources import file_at
from tests.upstream.wire_server import WireServer

from .file_server import FileServer, Offer

CONTENT = b'GGUF' + random.Random(1).randbytes(300_000)
OTHER = b'GGUF' + random.Random(2).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HTML = b'<!DOCTYPE html><title>Log in</title>'


class Watch:
    """Keeps what it is told."""

    def __init__(self):
        self.told, self.seen = [], []

    def tell(self, text):
        self.told.append(text)

    def progress(self, done, total):
        self.seen.append((done, total))


@pytest.fixture
def models(tmp_path):
    return tmp_path / 'models'


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def fetch(models, watch, pauses):
    """Fetches from an address; gives the bytes that lie there then."""
    http_session = UpstreamSession()

    def fetch(source, sha256=None, size=None, read_timeout=2.0, **variables):
        downloader = Downloader(http_session, variables, pauses.append, read_timeout)
        path = downloader.fetch(replace(file_at(source), sha256=sha256, size=size), models, watch)
        return path.read_bytes()
    yield fetch
    http_session.close()


def names(models):
    return sorted(path.name for path in models.iterdir())


def refusal(fetch, *arguments, **options):
    with pytest.raises(FetchError) as caught:
        fetch(*arguments, **options)
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_file_is_fetched_checked_and_alone(server, fetch, models, watch):
    server.offer(CONTENT)
    assert fetch(f'{server.url}/a/tiny.gguf', DIGEST, len(CONTENT)) == CONTENT
    assert names(models) == ['tiny.gguf']
    assert watch.told == ['Checking tiny.gguf …']
    assert watch.seen[-1] == (len(CONTENT), len(CONTENT))
    assert oct((models / 'tiny.gguf').stat().st_mode & 0o777) == '0o600'


def test_hash_that_nobody_knows_beforehand_is_said(server, fetch, watch):
    server.offer(CONTENT)
    fetch(f'{server.url}/tiny.gguf')
    assert DIGEST in watch.told[-1] and 'No SHA-256 is known' in watch.told[-1]


# a connection that breaks

@pytest.mark.parametrize('known', [{}, {'sha256': DIGEST}], ids=['hash unknown', 'hash known'])
def test_server_that_stops_in_the_middle_is_asked_for_the_rest(server, fetch, models, pauses, known):
    server.offer(CONTENT, cuts=[100_000, 50_000])
    assert fetch(f'{server.url}/tiny.gguf', **known) == CONTENT
    assert server.ranges() == [None, 'bytes=100000-', 'bytes=150000-']
    assert [headers.get('if-range') for _, headers in server.requests] == [None, '"one"', '"one"']
    assert names(models) == ['tiny.gguf'] and pauses == [0.5, 0.5]


def test_server_that_stops_for_good_leaves_what_came_for_the_next_run(server, fetch, models, pauses):
    server.offer(CONTENT, cuts=[100_000] + [0] * RETRIES)
    message = refusal(fetch, f'{server.url}/tiny.gguf')
    assert 'broke off' in message and message.endswith('that came are kept: the same command goes on from there.')
    assert names(models) == ['tiny.gguf.part', 'tiny.gguf.part.json']
    assert pauses == [0.5, 1, 2, 4, 8]
    assert fetch(f'{server.url}/tiny.gguf', DIGEST) == CONTENT
    assert server.ranges()[-1] == 'bytes=100000-'
    assert names(models) == ['tiny.gguf']


def test_part_of_another_address_is_not_gone_on_with(server, fetch):
    server.offer(CONTENT, cuts=[100_000] + [0] * RETRIES)
    refusal(fetch, f'{server.url}/a/tiny.gguf')
    server.offer(OTHER)
    assert fetch(f'{server.url}/b/tiny.gguf') == OTHER
    assert server.ranges()[-1] is None


def test_server_that_ignores_ranges_is_started_anew(server, fetch, models):
    server.offer(CONTENT, ranges=False, cuts=[100_000])
    assert fetch(f'{server.url}/tiny.gguf') == CONTENT
    assert server.ranges() == [None, 'bytes=100000-']


def test_file_that_changed_meanwhile_is_started_anew(server, fetch):
    server.offer(Offer(CONTENT, cuts=[100_000]), Offer(OTHER, etag='"two"'))
    assert fetch(f'{server.url}/tiny.gguf') == OTHER


def test_rest_of_a_changed_file_is_not_put_behind_the_old_beginning(server, fetch):
    """A server that heeds Range but not If-Range."""
    server.offer(Offer(CONTENT, cuts=[100_000]), Offer(OTHER[100_000:], etag='"two"', status=206, headers={
        'Content-Range': f'bytes 100000-{len(OTHER) - 1}/{len(OTHER)}'}, ranges=False), Offer(OTHER, etag='"two"'))
    assert fetch(f'{server.url}/tiny.gguf') == OTHER
    assert server.ranges() == [None, 'bytes=100000-', None]


@pytest.mark.parametrize('etag', [None, 'W/"weak"'])
def test_server_without_a_strong_validator_is_started_anew(server, fetch, etag):
    server.offer(CONTENT, etag=etag, cuts=[100_000])
    assert fetch(f'{server.url}/tiny.gguf') == CONTENT
    assert server.ranges() == [None, None]


def test_part_longer_than_the_file_is_thrown_away(server, fetch):
    server.offer(CONTENT, cuts=[100_000] + [0] * RETRIES)
    refusal(fetch, f'{server.url}/tiny.gguf')
    server.offer(CONTENT[:50_000])
    assert fetch(f'{server.url}/tiny.gguf') == CONTENT[:50_000]


def test_server_that_is_busy_is_asked_again_when_it_says(server, fetch, pauses):
    server.offer(Offer(b'later', status=503), Offer(b'later', status=429, headers={'Retry-After': '7'}), Offer(CONTENT))
    assert fetch(f'{server.url}/tiny.gguf') == CONTENT
    assert pauses == [0.5, 7]


def test_silent_server_is_asked_again(server, fetch, watch):
    server.offer(Offer(CONTENT, drip=200_000, pause=0.3), Offer(CONTENT))
    assert fetch(f'{server.url}/tiny.gguf', read_timeout=0.1) == CONTENT
    assert 'sent nothing for 0.1 s. Trying again in 0.5 s.' in watch.told[0]


def test_slow_server_is_waited_for(server, fetch, watch):
    server.offer(CONTENT[:2000], drip=200)
    assert fetch(f'{server.url}/tiny.gguf') == CONTENT[:2000]
    assert len(watch.seen) > 5


# a length that nobody said, or a wrong one

def test_file_without_a_length_is_fetched(server, fetch, watch):
    server.offer(CONTENT, length=False)
    assert fetch(f'{server.url}/tiny.gguf') == CONTENT
    assert watch.seen[-1] == (len(CONTENT), None)


def test_truncated_file_without_a_length_is_refused_and_nothing_kept(server, fetch, models):
    server.offer(CONTENT[:1000], length=False, etag=None)
    assert f'ended after 1000 of {len(CONTENT)} bytes' in refusal(fetch, f'{server.url}/tiny.gguf', size=len(CONTENT))
    assert names(models) == []


@pytest.mark.parametrize('length', [True, False])
def test_file_longer_than_it_may_be_is_refused_and_nothing_kept(server, fetch, models, length):
    server.offer(CONTENT, length=length)
    assert 'expected' in refusal(fetch, f'{server.url}/tiny.gguf', size=1000)
    assert names(models) == []


# a wrong file

@pytest.mark.parametrize(('content', 'told'), [
    (HTML, 'is a web page, not a GGUF file.'), (b'PK\3\4 and so on', 'is not a GGUF file.'), (b'GG', 'is not a GGUF file.'),
    (b'', 'is not a GGUF file.'),
])
def test_what_is_no_model_is_refused_and_nothing_kept(server, fetch, models, content, told):
    server.offer(content)
    assert refusal(fetch, f'{server.url}/tiny.gguf') == f'{server.url}/tiny.gguf {told} Nothing was kept.'
    assert names(models) == []


def test_wrong_file_is_refused_at_its_first_bytes(server, fetch, watch):
    server.offer(HTML + bytes(10_000_000), drip=50_000, pause=0.1)
    refusal(fetch, f'{server.url}/tiny.gguf')
    assert not watch.seen


def test_file_of_another_hash_is_refused_and_nothing_kept(server, fetch, models):
    server.offer(OTHER)
    assert 'its SHA-256 is' in refusal(fetch, f'{server.url}/tiny.gguf', DIGEST)
    assert names(models) == []


def test_file_that_lies_there_stays_when_the_new_one_is_wrong(server, fetch, models):
    models.mkdir()
    (models / 'tiny.gguf').write_bytes(b'GGUF mine')
    server.offer(OTHER)
    refusal(fetch, f'{server.url}/tiny.gguf', DIGEST)
    assert (models / 'tiny.gguf').read_bytes() == b'GGUF mine'


@pytest.mark.parametrize(('status', 'told'), [
    (401, 'it is not open to all.'), (403, 'it is not open to all.'), (404, 'There is no file'), (410, 'answered 410.'),
])
def test_refusal_of_the_server_is_told_at_once(server, fetch, models, pauses, status, told):
    server.offer(HTML, status=status)
    assert told in refusal(fetch, f'{server.url}/tiny.gguf')
    assert names(models) == [] and pauses == []


def test_server_that_is_not_there_is_told_at_once(fetch, pauses):
    assert 'Cannot connect to http://127.0.0.1:9' in refusal(fetch, 'http://127.0.0.1:9/tiny.gguf')
    assert pauses == []


# a disk that is full

def test_file_too_large_for_the_disk_is_refused_before_it_comes(server, fetch, models, watch, monkeypatch):
    usage = namedtuple('usage', 'total used free')(1 << 30, 1 << 30, 1 << 20)
    monkeypatch.setattr(checks.shutil, 'disk_usage', lambda _: usage)
    server.offer(CONTENT, headers={'Content-Length': str(50 << 30)}, cuts=[10])
    assert 'has 1 MB free; the model needs 51200 MB' in refusal(fetch, f'{server.url}/tiny.gguf')
    assert not watch.seen


# redirects

def test_redirects_are_followed_up_to_five(server, fetch):
    hop = [Offer(status=302, headers={'Location': f'/hop{number}'}) for number in range(6)]
    server.offer(*hop[:5], CONTENT)
    assert fetch(f'{server.url}/tiny.gguf') == CONTENT
    server.offer(*hop, CONTENT)
    assert 'redirects more than 5 times' in refusal(fetch, f'{server.url}/tiny.gguf')


@pytest.mark.parametrize('location', ['ftp://host/tiny.gguf', 'http://[::1', 'http://host:port/', 'file:///etc/passwd'])
def test_redirect_to_what_is_no_http_address_is_refused(server, fetch, location):
    server.offer(Offer(status=302, headers={'Location': location}))
    assert 'redirects to what is no http address' in refusal(fetch, f'{server.url}/tiny.gguf')


def test_redirect_from_https_to_plain_http_is_refused(server, tmp_path, models, watch):
    files = tmp_path / 'certificate.pem', tmp_path / 'key.pem'
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
         '-subj', '/CN=files', '-addext', 'subjectAltName=IP:127.0.0.1', '-out', files[0], '-keyout', files[1]],
        check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    location = f'HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {server.url}/tiny.gguf?key=secret\r\n\r\n'
    http_session = UpstreamSession(str(files[0]))
    with WireServer([location.encode()], tls=context) as secure, pytest.raises(FetchError) as caught:
        Downloader(http_session, {}).fetch(file_at(f'{secure.url}/tiny.gguf'), models, watch)
    http_session.close()
    assert f'redirects from https to plain http ({server.url}): refused.' in str(caught.value)
    assert server.requests == []


# Hugging Face

def test_token_goes_to_hugging_face_and_to_no_other_host(server, fetch):
    with FileServer() as other:
        other.offer(CONTENT)
        server.offer(Offer(status=302, headers={'Location': '/api/resolve'}),
                     Offer(status=302, headers={'Location': f'{other.url}/blob?signed=1'}))
        assert fetch('hf:owner/repo/sub/tiny.gguf', HF_ENDPOINT=server.url, HF_TOKEN='hf_secret') == CONTENT
    assert [path for path, _ in server.requests] == ['/owner/repo/resolve/main/sub/tiny.gguf', '/api/resolve']
    assert {headers.get('authorization') for _, headers in server.requests} == {'Bearer hf_secret'}
    assert 'authorization' not in other.requests[0][1]


def test_token_does_not_go_to_any_other_address(server, fetch):
    server.offer(CONTENT)
    fetch(f'{server.url}/tiny.gguf', HF_TOKEN='hf_secret')
    assert 'authorization' not in server.requests[0][1]


@pytest.mark.parametrize(('variables', 'told'), [
    ({}, 'set HF_TOKEN'), ({'HF_TOKEN': 'hf_secret'}, 'the token in HF_TOKEN may not'),
])
def test_repository_that_is_not_open_says_what_to_do(server, fetch, variables, told):
    server.offer(b'Invalid username or password.', status=401)
    message = refusal(fetch, 'hf:owner/repo/tiny.gguf', HF_ENDPOINT=server.url, **variables)
    assert told in message and 'secret' not in message


def test_hash_that_hugging_face_states_is_held_against_the_file(server, fetch, models):
    redirect = Offer(status=302, headers={'Location': '/blob', 'X-Linked-ETag': f'"{DIGEST}"'})
    server.offer(redirect, OTHER)
    assert f'not {DIGEST}' in refusal(fetch, 'hf:owner/repo/tiny.gguf', HF_ENDPOINT=server.url)
    server.offer(redirect, CONTENT)
    assert fetch('hf:owner/repo/tiny.gguf', HF_ENDPOINT=server.url) == CONTENT


# at once

def test_part_is_whole_before_it_has_its_name(server, fetch, models, watch):
    """Who looks at any moment finds no file, or the whole one."""
    server.offer(CONTENT, drip=30_000)
    thread = threading.Thread(target=fetch, args=[f'{server.url}/tiny.gguf'])
    thread.start()
    sizes = set()
    while thread.is_alive():
        if (models / 'tiny.gguf').exists():
            sizes.add(os.path.getsize(models / 'tiny.gguf'))
    thread.join()
    assert sizes <= {len(CONTENT)}
