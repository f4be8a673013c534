"""gunicorn reads this by itself in the checkout: `gunicorn` alone serves llmhost."""

from llmhost.gunicorn_conf import *  # noqa: F401,F403
