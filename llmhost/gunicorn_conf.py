"""gunicorn's configuration, as `flask up` names it (`-c python:llmhost.gunicorn_conf`) and `gunicorn.conf.py` imports it."""

import sys

from llmhost.errors import ConsoleError
from llmhost.serving import settings_from_environment

try:
    globals().update(settings_from_environment())
except ConsoleError as error:
    sys.exit(f'Error: {error}')
