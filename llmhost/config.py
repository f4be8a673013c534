"""Settings, read once from the environment and `.env`; nothing below this module looks at the environment."""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import platformdirs
from dotenv import dotenv_values

from llmhost.errors import ConfigurationError

PREFIX = 'LLMHOST_'
CHOICES = {'auth': ('auto', 'required', 'off'), 'log_format': ('text', 'json')}
SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
ADDRESS = re.compile(r'(\[[0-9a-fA-F:.]+\]|[^\[\]:\s]*):(\d{1,5})|unix:.+|fd://\d+')
ZERO_ALLOWED = ('queue_size', 'queue_timeout')
LOG_LEVELS = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')


def _default_data_dir() -> Path:
    return Path(platformdirs.user_data_dir('llmhost', appauthor=False))


@dataclass(frozen=True, slots=True)
class Config:
    """llmhost's settings. Each field is the variable `LLMHOST_<NAME>`; times are in seconds, sizes in bytes."""

    data_dir: Path
    bind: str = '127.0.0.1:4080'
    auth: str = 'auto'
    api_key: str | None = field(default=None, repr=False)
    max_concurrency: int = 200
    queue_size: int = 1000
    queue_timeout: float = 30.0
    connect_timeout: float = 5.0
    read_timeout: float = 600.0
    keepalive_interval: float = 15.0
    max_body_bytes: int = 67108864
    probe_interval: float = 15.0
    start_timeout: float = 300.0
    log_level: str = 'INFO'
    log_format: str = 'text'
    cors_origins: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={'derived': True})
    """All variables, `.env` included: where `--api-key-env` finds the servers' keys."""

    @property
    def run_dir(self) -> Path:
        """Sockets, shared counters and the logs of managed servers: what may be deleted while nothing runs."""
        return self.data_dir / 'run'

    @property
    def host_socket(self) -> Path:
        """The host's Unix socket; in the temporary folder where the data directory's path is too long for one."""
        return self._socket('host.sock')

    @property
    def lease_socket(self) -> Path:
        """The Unix socket on which the host gives leases; placed by the same rule."""
        return self._socket('leases.sock')

    def _socket(self, name: str) -> Path:
        path = self.run_dir / name
        if len(os.fsencode(path)) < SOCKET_PATH_LIMIT:
            return path
        digest = sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f'llmhost-{os.getuid()}-{digest}.sock'

    @property
    def bind_host(self) -> str:
        return self.bind.rpartition(':')[0].strip('[]') or self.bind

    @property
    def binds_loopback_only(self) -> bool:
        """Whether only this machine can connect: a loopback address or a Unix socket."""
        if self.bind.startswith('unix:'):
            return True
        try:
            return ip_address(self.bind_host).is_loopback
        except ValueError:
            return self.bind_host == 'localhost'


def load_config(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Config:
    """The settings from `environ` (default: the process's) over those of the file `dotenv` (default: `./.env`).

    Raises ConfigurationError naming the variable and what it takes.
    """
    if environ is None:
        environ = os.environ
        dotenv = dotenv or Path('.env')
    values: dict[str, str | None] = _read_dotenv(dotenv) if dotenv and dotenv.is_file() else {}
    values.update(environ)
    settings: dict[str, Any] = {'data_dir': _default_data_dir()}
    for setting in fields(Config):
        text = values.get(PREFIX + setting.name.upper())
        if text and not setting.metadata:
            settings[setting.name] = _parse(setting.name, str(setting.type), text)
    variables = {name: value for name, value in values.items() if value is not None}
    return Config(**settings, variables=variables)


def _read_dotenv(path: Path) -> dict[str, str | None]:
    try:
        return dict(dotenv_values(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not UTF-8 text'
        raise ConfigurationError(f'{path.absolute()} cannot be read: {reason}.') from error


def _parse(name: str, kind: str, text: str) -> Any:
    variable = PREFIX + name.upper()
    if name in CHOICES and text not in CHOICES[name]:
        raise ConfigurationError(f'{variable} is one of {", ".join(CHOICES[name])}, not {text!r}.')
    if name == 'log_level' and text.upper() not in LOG_LEVELS:
        raise ConfigurationError(f'{variable} is one of {", ".join(LOG_LEVELS)}, not {text!r}.')
    if name == 'bind' and not _is_address(text):
        raise ConfigurationError(f'{variable} is HOST:PORT, [IPV6]:PORT or unix:PATH, not {text!r}.')
    if 'Path' in kind:
        return Path(text).expanduser().absolute()
    if 'tuple' in kind:
        return tuple(part.strip() for part in text.split(',') if part.strip())
    if 'int' in kind or 'float' in kind:
        return _parse_number(name, kind, text)
    return text.upper() if name == 'log_level' else text


def _is_address(text: str) -> bool:
    parts = ADDRESS.fullmatch(text)
    return parts is not None and (parts[2] is None or 0 < int(parts[2]) < 65536)


def _parse_number(name: str, kind: str, text: str) -> int | float:
    whole = 'int' in kind
    allows_zero = name in ZERO_ALLOWED
    try:
        number: int | float = int(text) if whole else float(text)
    except ValueError:
        number = -1
    if not (0 < number < 1e12 or number == 0 and allows_zero):
        right = f'a {"whole " if whole else ""}number {"of 0 or more" if allows_zero else "above 0"}'
        raise ConfigurationError(f'{PREFIX}{name.upper()} is {right}, not {text!r}.')
    return number
