"""llama.cpp's own server (xllamacpp) on loopback, as a program: python llama_server.py GGUF PORT [options]."""
import argparse
import signal

import xllamacpp


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument('gguf')
    parser.add_argument('port', type=int)
    parser.add_argument('--alias', help='the model id it serves')
    parser.add_argument('--template', help='a Jinja file that renders chats')
    parser.add_argument('--projector', help='a vision projector (mmproj) for image parts')
    parser.add_argument('--pooling', choices=['mean', 'rank'], help='serve embeddings, or rerank')
    parser.add_argument('--slots', type=int, default=4)
    parser.add_argument('--context', type=int, default=2048, help='tokens a slot')
    return parser.parse_args()


def build_params(arguments: argparse.Namespace) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = arguments.gguf
    params.hostnames = ['127.0.0.1']
    params.port = arguments.port
    params.n_parallel = arguments.slots
    params.n_ctx = arguments.slots * arguments.context
    params.n_ubatch = params.n_batch = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # two spin at barriers when the cores are busy
    params.n_threads_http = 32  # it ties one to each idle connection
    params.use_jinja = True
    if arguments.alias:
        params.model_alias = {arguments.alias}
    if arguments.template:
        with open(arguments.template) as file:
            params.chat_template = file.read()
    if arguments.projector:
        params.mmproj.path = arguments.projector
    if arguments.pooling:
        params.embedding = True
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f'LLAMA_POOLING_TYPE_{arguments.pooling.upper()}')
    return params


if __name__ == '__main__':
    server = xllamacpp.Server(build_params(parse_arguments()))
    signal.pause()
