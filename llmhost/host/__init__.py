"""The host: the one process that owns what must exist once. Everything asyncio lives here, and nothing else imports it."""
