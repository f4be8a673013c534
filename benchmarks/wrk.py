"""The plain load by wrk, whose own cost is small enough to leave the machine to what is measured."""

import json
import subprocess
from pathlib import Path

from benchmarks.http_request import HTTPRequest
from benchmarks.load_result import PlainLoad
from benchmarks.processes import NotRun

DONE = '''
function done(summary, latency, requests)
    local e = summary.errors
    print(string.format('{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "failed": %d}', summary.requests,
        summary.duration, latency:percentile(50), latency:percentile(99),
        e.connect + e.read + e.write + e.status + e.timeout))
end
'''


def run_wrk(wrk: str, request: HTTPRequest, *, clients: int, seconds: float, folder: Path) -> PlainLoad:
    script = folder / 'wrk.lua'
    script.write_text(_build_script(request))
    whole_seconds = max(1, round(seconds))
    command = [wrk, '-t1', f'-c{clients}', f'-d{whole_seconds}s', '--timeout', '30s', '-s', str(script), request.url]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=whole_seconds + 60)
    lines = finished.stdout.splitlines()
    if finished.returncode or not lines or not lines[-1].startswith('{'):
        raise NotRun(f'wrk failed: {(finished.stderr or finished.stdout).strip()[-160:]}')
    seen = json.loads(lines[-1])
    failed = seen['failed']
    return PlainLoad(max(0, seen['requests'] - failed), seen['microseconds'] / 1e6, seen['p50'] / 1e6,
                     seen['p99'] / 1e6, failed)


def _build_script(request: HTTPRequest) -> str:
    headers = ''.join(f'wrk.headers[{json.dumps(k)}] = {json.dumps(v)}\n' for k, v in request.all_headers.items())
    return f"wrk.method = 'POST'\nwrk.body = [==[{request.body.decode()}]==]\n{headers}{DONE}"
