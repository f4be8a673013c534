"""What gunicorn and `flask` load: the application, made from the environment."""

from llmhost.app import create_app

app = create_app()
