"""Every error llmhost raises.

    LLMHostError
    ├── BadRequestError              the client's request cannot be used
    │   ├── InvalidRequestError      ... a named parameter is missing, of the wrong type, or out of range
    │   ├── RequestTooLargeError
    │   ├── MethodNotAllowedError
    │   └── NotFoundError            ... names something that is not here
    │       ├── UnknownModelError
    │       └── UnknownURLError
    ├── AuthenticationError          no key, or a wrong one
    ├── PermissionDeniedError        a good key that may not do this
    ├── RateLimitError               over a limit now; may be tried again
    ├── UnavailableError             nothing here can serve it now; may be tried again
    ├── UpstreamError                the far side failed
    │   ├── UpstreamConnectError     ... could not be reached
    │   ├── UpstreamTimeoutError     ... was silent too long
    │   ├── UpstreamBrokenError      ... broke off, or answered what cannot be read
    │   └── UpstreamStatusError      ... answered with an error of its own
    └── ConsoleError                 what a person at the console, or a file they wrote, got wrong
        ├── ConfigurationError
        ├── RegistryError
        │   ├── DuplicateNameError
        │   └── UnknownNameError
        ├── CorruptFileError
        └── FetchError

Names run parallel to openai-python's. Statuses belong to the edge (`llmhost.api.errors`), exit codes to `llmhost.cli`.
"""

from pathlib import Path


class LLMHostError(Exception):
    """Base of all. `str(error)` is safe to show: it never holds a secret or a message's content.

    `type`, `code` and `param` are the fields of OpenAI's error object; `retry_after` is in seconds.
    """

    type = 'server_error'
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code
        self.retry_after = retry_after


class BadRequestError(LLMHostError):
    type = 'invalid_request_error'


class InvalidRequestError(BadRequestError):
    """A parameter is at fault: `param` is its path, such as `messages[3].content[0].image_url.url`."""


class RequestTooLargeError(BadRequestError):
    code = 'request_too_large'


class MethodNotAllowedError(BadRequestError):
    code = 'method_not_allowed'


class NotFoundError(BadRequestError):
    code = 'not_found'


class UnknownModelError(NotFoundError):
    code = 'model_not_found'


class UnknownURLError(NotFoundError):
    code = 'unknown_url'


class AuthenticationError(LLMHostError):
    type = 'invalid_request_error'


class PermissionDeniedError(LLMHostError):
    type = 'invalid_request_error'
    code = 'permission_denied'


class RateLimitError(LLMHostError):
    type = 'requests'
    code = 'rate_limit_exceeded'


class UnavailableError(LLMHostError):
    code = 'service_unavailable'


class UpstreamError(LLMHostError):
    code: str | None = 'upstream_error'


class UpstreamConnectError(UpstreamError):
    code = 'upstream_unreachable'


class UpstreamTimeoutError(UpstreamError):
    code = 'upstream_timeout'


class UpstreamBrokenError(UpstreamError):
    code = 'upstream_broken'


class UpstreamStatusError(UpstreamError):
    """The upstream's own error, in OpenAI's terms. `status` is the HTTP status it means (not always the one sent)."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str = 'server_error',
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after=retry_after)
        self.status = status
        self.type = type
        self.code = code


class ConsoleError(LLMHostError):
    """One clear line for the console: the cause, and the cure where there is one."""

    code = 'configuration_error'


class ConfigurationError(ConsoleError):
    pass


class RegistryError(ConsoleError):
    pass


class DuplicateNameError(RegistryError):
    pass


class UnknownNameError(RegistryError):
    pass


class CorruptFileError(ConsoleError):
    """A file of ours cannot be parsed; it was left as it is."""

    def __init__(self, path: Path, reason: str, line: int | None = None, column: int | None = None) -> None:
        where = f'{path}:{line}:{column}' if line else str(path)
        super().__init__(f'{where}: {reason}. The file was left as it is: mend it, or move it away.')
        self.path, self.line, self.column = path, line, column


class FetchError(ConsoleError):
    """A download failed; nothing half-done was left under its final name."""
