"""What the end-to-end tests need from outside: skipped without it, but never where CI=true (tests/conftest.py)."""
import importlib.util
import shutil
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skip with `reason`; where CI=true that is a failure."""
    pytest.skip(reason)


def require_program(name: str) -> str:
    """The program's path; Debian's folders for administrators are searched too."""
    return shutil.which(name) or shutil.which(name, path='/usr/sbin:/sbin') or skip_or_fail(f'{name} is not installed')


def require_module(name: str, extra: str) -> None:
    if importlib.util.find_spec(name) is None:
        skip_or_fail(f"{name} is not installed: pip install -e '.[{extra}]'")
