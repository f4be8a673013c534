"""Who may ask: API keys; and while none is needed, who may not: web pages."""

import hmac
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address

from llmhost.config import Config
from llmhost.errors import AuthenticationError, ConfigurationError, PermissionDeniedError
from llmhost.storage.keys import Key, KeyStore, digest_of

NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    '(i.e. Authorization: Bearer YOUR_KEY).'
)
WRONG_KEY = "Incorrect API key provided. Keys are made with 'flask keys create NAME' on the machine that serves this address."
NOT_FROM_HERE = (
    "While no API key exists, llmhost answers only programs and pages of this machine, and this request's {header} header names "
    "another place. Create a key ('flask keys create NAME'), or name a page's origin in LLMHOST_CORS_ORIGINS."
)
EXPIRED_KEY = "The API key provided has expired. Ask for a new one: 'flask keys create NAME'."


class Access:
    """Checks keys: those of `keys.json`, and the one of `LLMHOST_API_KEY`."""

    def __init__(self, keys: KeyStore, config: Config) -> None:
        self._keys = keys
        self._config = config
        self._mode = config.auth
        self._is_exposed = not config.binds_loopback_only
        self._is_fenced = config.auth == 'auto' and not self._is_exposed and not config.bind.startswith('unix:')
        self._names_us = lru_cache(256)(self._is_own_host)
        self._fixed = Key(name='LLMHOST_API_KEY', sha256=digest_of(config.api_key)) if config.api_key else None

    def has_keys(self) -> bool:
        return self._fixed is not None or self._keys.any()

    def is_required(self) -> bool:
        """Whether a request needs a key, as `LLMHOST_AUTH` says: on `auto`, once one exists or others can reach this address."""
        if self._mode == 'auto':
            return self._is_exposed or self.has_keys()
        return self._mode == 'required'

    def refuse_open_door(self, bind: str) -> None:
        """Serving beyond loopback without a key needs `LLMHOST_AUTH=off` in words. Raises ConfigurationError."""
        if self._mode == 'auto' and not replace(self._config, bind=bind).binds_loopback_only and not self.has_keys():
            raise ConfigurationError(
                f'{bind} can be reached from other machines, and no API key exists. '
                "Make one with 'flask keys create NAME', or allow everyone with LLMHOST_AUTH=off.")

    def identify(self, key: str | None, host: str = '', origin: str | None = None) -> Key | None:
        """The record of the request's key; None where none is needed. Raises AuthenticationError.

        Without keys, the headers Host and Origin must not name another place: PermissionDeniedError.
        """
        if not self.is_required():
            if self._is_fenced:
                self._refuse_strangers(host, origin)
            return None
        if not key:
            raise AuthenticationError(NO_KEY)
        record = self._find(key)
        if record is None:
            raise AuthenticationError(WRONG_KEY, code='invalid_api_key')
        if record.has_expired(datetime.now(UTC).date()):
            raise AuthenticationError(EXPIRED_KEY, code='invalid_api_key')
        return record

    def _refuse_strangers(self, host: str, origin: str | None) -> None:
        """A page that had its own name resolve to this machine sends that name; any other page sends its origin."""
        if host and not self._names_us(host):
            raise PermissionDeniedError(NOT_FROM_HERE.format(header='Host'))
        allowed = self._config.cors_origins
        if origin is None or '*' in allowed or origin in allowed:
            return
        if origin.partition('://')[1:] != ('://', host):
            raise PermissionDeniedError(NOT_FROM_HERE.format(header='Origin'))

    def _is_own_host(self, host: str) -> bool:
        name = (host if host.endswith(']') else host.rpartition(':')[0] or host).strip('[]').rstrip('.').lower()
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return name in ('localhost', self._config.bind_host) or name.endswith('.localhost')

    def _find(self, key: str) -> Key | None:
        if self._fixed is not None and hmac.compare_digest(self._fixed.sha256, digest_of(key)):
            return self._fixed
        return self._keys.find(key)


def may_use(key: Key | None, model: str) -> bool:
    """Whether the key's globs allow the model; a key without globs allows all."""
    return key is None or matches(key.models, model)


def matches(globs: tuple[str, ...], model: str) -> bool:
    return not globs or any(fnmatchcase(model, glob) for glob in globs)
