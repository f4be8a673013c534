"""Who may ask: API keys."""

import hmac
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from llmhost.config import Config
from llmhost.errors import AuthenticationError
from llmhost.storage.keys import Key, KeyStore, digest_of

NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    '(i.e. Authorization: Bearer YOUR_KEY).'
)
WRONG_KEY = "Incorrect API key provided. Keys are made with 'flask keys create NAME' on the machine that serves this address."
EXPIRED_KEY = "The API key provided has expired. Ask for a new one: 'flask keys create NAME'."


class Access:
    """Checks keys: those of `keys.json`, and the one of `LLMHOST_API_KEY`."""

    def __init__(self, keys: KeyStore, config: Config) -> None:
        self._keys = keys
        self._mode = config.auth
        self._is_exposed = not config.binds_loopback_only
        self._fixed = Key(name='LLMHOST_API_KEY', sha256=digest_of(config.api_key)) if config.api_key else None

    def has_keys(self) -> bool:
        return self._fixed is not None or self._keys.any()

    def is_required(self) -> bool:
        """Whether a request needs a key, as `LLMHOST_AUTH` says: on `auto`, once one exists or others can reach this address."""
        if self._mode == 'auto':
            return self._is_exposed or self.has_keys()
        return self._mode == 'required'

    def identify(self, key: str | None) -> Key | None:
        """The record of the request's key; None where none is needed. Raises AuthenticationError."""
        if not self.is_required():
            return None
        if not key:
            raise AuthenticationError(NO_KEY)
        record = self._find(key)
        if record is None:
            raise AuthenticationError(WRONG_KEY, code='invalid_api_key')
        if record.has_expired(datetime.now(UTC).date()):
            raise AuthenticationError(EXPIRED_KEY, code='invalid_api_key')
        return record

    def _find(self, key: str) -> Key | None:
        if self._fixed is not None and hmac.compare_digest(self._fixed.sha256, digest_of(key)):
            return self._fixed
        return self._keys.find(key)


def may_use(key: Key | None, model: str) -> bool:
    """Whether the key's globs allow the model; a key without globs allows all."""
    return key is None or not key.models or any(fnmatchcase(model, glob) for glob in key.models)
