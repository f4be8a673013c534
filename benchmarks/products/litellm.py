"""LiteLLM's proxy with one worker and a master key, set as its production page says; no database, no callbacks."""

import json

from benchmarks.http_request import KEY, PLAIN_MODEL, STREAM_MODEL
from benchmarks.processes import NotRun
from benchmarks.product import Site, Started


def start(site: Site) -> Started:
    if not site.litellm:
        raise NotRun('litellm is not on the PATH; --litellm says where it is')
    config = site.processes.folder / 'litellm.yaml'
    config.write_text(json.dumps({  # JSON is YAML
        'model_list': [_build_model(PLAIN_MODEL, site.upstream.plain_url),
                       _build_model(STREAM_MODEL, site.upstream.stream_url)],
        'general_settings': {'master_key': KEY},
        'litellm_settings': {'set_verbose': False, 'telemetry': False},
    }))
    process = site.processes.start(
        [site.litellm, '--config', str(config), '--host', '127.0.0.1', '--port', str(site.port), '--num_workers', '1'],
        environ={'LITELLM_LOG': 'ERROR', 'LITELLM_MODE': 'PRODUCTION', 'LITELLM_LOCAL_MODEL_COST_MAP': 'True'})
    return Started(process.pid, site.build_plain(), site.build_stream())


def _build_model(model: str, url: str) -> dict[str, object]:
    return {'model_name': model,
            'litellm_params': {'model': f'openai/{model}', 'api_base': f'{url}/v1', 'api_key': 'sk-upstream'}}
