"""One OpenAI-compatible address on a LAN for every model server."""

__version__ = '0.1.0'
