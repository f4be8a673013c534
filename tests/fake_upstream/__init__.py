"""A real HTTP/1.1 model server for tests: it speaks OpenAI's dialect, and misbehaves where it is told to.

    with FakeUpstream(models=['m1'], gap=0.01) as upstream:
        upstream.answer('/v1/chat/completions', Reply.sample('vllm/stream_error.txt'))
        ... talk to upstream.url ...
        assert upstream.requests[0].json['model'] == 'm1'
"""
from .replies import Raw, Reply, Request, encode_event, read_sample, split
from .server import FakeUpstream

__all__ = ['FakeUpstream', 'Raw', 'Reply', 'Request', 'encode_event', 'read_sample', 'split']
