"""Calls to model servers: sessions, connections, events."""
