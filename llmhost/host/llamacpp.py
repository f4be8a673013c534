"""llama.cpp's own server on loopback, by xllamacpp: what a `gguf` entry runs. Needs nothing else of llmhost.

    python -P llamacpp.py --model FILE --port N --alias ID [--alias ID]… [--context N] [--threads N] [--http-threads N]
        [--pooling mean|cls|last|rank] [--mmproj FILE]

One server answers chat, completions and embeddings; of a model that pools by rank, rerank. `--context` is what one request may
use; the four slots share it.
"""

import argparse
import os
import signal
import sys
from typing import Any

GGUF_MAGIC = b'GGUF'
DEFAULT_CONTEXT = 8192
SLOTS = 4
MAX_THREADS = 512
MAX_CONTEXT = 1 << 24
BATCH = 2048
"""The longest text to embed, in tokens: llama.cpp refuses what does not fit in one physical batch."""
PROMPT_CACHE_MIB = 512
WARNINGS = 2


def main(argv: list[str]) -> int:
    options = parse(argv)
    if (fault := fault_of(options.model) or excess_of(options)) is not None:
        print(fault, file=sys.stderr)
        return 1
    try:
        import xllamacpp  # only now: it is large, and an extra
    except ImportError as error:
        print(f"The package xllamacpp is missing ({error}): pip install 'llmhost[local]'", file=sys.stderr)
        return 1
    try:
        server = xllamacpp.Server(params_of(xllamacpp, options))
    except (RuntimeError, OverflowError) as error:
        print(f'llama.cpp cannot serve {options.model}: {error}', file=sys.stderr)
        return 1
    print(f'Serving {options.model} at {server.listening_address}.', flush=True)
    signal.pause()
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument('--model', required=True)
    parser.add_argument('--port', type=int, required=True)
    parser.add_argument('--alias', action='append', required=True)
    parser.add_argument('--context', type=int, default=DEFAULT_CONTEXT)
    # llama.cpp spins at barriers: on a busy machine a second thread makes it five times slower
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--http-threads', type=int, default=64)
    parser.add_argument('--mmproj')
    parser.add_argument('--pooling', choices=('mean', 'cls', 'last', 'rank'), default='mean')
    return parser.parse_args(argv)


def fault_of(path: str) -> str | None:
    """What is wrong with a model file, as one line."""
    try:
        with open(path, 'rb') as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        return f'{path}: {os.strerror(error.errno or 0)}'
    return None if magic == GGUF_MAGIC else f'{path} is not a GGUF file.'


def excess_of(options: argparse.Namespace) -> str | None:
    """Which number llama.cpp cannot take: it crashes rather than say so."""
    if options.threads > MAX_THREADS:
        return f'llama.cpp takes at most {MAX_THREADS} threads, not {options.threads}.'
    if options.context > MAX_CONTEXT:
        return f'llama.cpp takes a context of at most {MAX_CONTEXT} tokens, not {options.context}.'
    return None


def params_of(xllamacpp: Any, options: argparse.Namespace) -> Any:
    """llama.cpp's settings; all other ones stay as its server has them."""
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = set(options.alias)
    params.hostnames, params.port = ['127.0.0.1'], options.port
    params.n_threads_http = options.http_threads
    params.cors_origins, params.ui = 'https://llmhost.invalid', False  # no web page may use it: it asks for no key
    params.n_parallel, params.kv_unified = SLOTS, True
    params.n_ctx = options.context  # llama.cpp lowers it to what the model was trained for
    params.n_batch = params.n_ubatch = BATCH
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    if options.mmproj:
        params.mmproj.path = options.mmproj
    params.embedding = True
    params.pooling_type = getattr(xllamacpp.llama_pooling_type, f'LLAMA_POOLING_TYPE_{options.pooling.upper()}')
    params.use_jinja = params.endpoint_metrics = True
    params.verbosity = WARNINGS
    return params


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
