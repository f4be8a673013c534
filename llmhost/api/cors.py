"""Cross-origin requests, for the origins that `LLMHOST_CORS_ORIGINS` names: https://fetch.spec.whatwg.org/#http-cors-protocol"""

from flask import Flask, Response, request

EXPOSED = 'X-Request-Id, X-Llmhost-Server, X-Llmhost-Attempts, X-Llmhost-Queue-Ms, X-Llmhost-Overhead-Ms, Retry-After'
MAX_AGE = '600'


def register(app: Flask, origins: tuple[str, ...]) -> None:
    """`*` allows every origin. Without origins nothing is registered: no request pays for it."""
    @app.before_request
    def answer_preflight() -> Response | None:
        if request.method == 'OPTIONS' and 'Access-Control-Request-Method' in request.headers:
            return Response(status=204)
        return None

    @app.after_request
    def allow(response: Response) -> Response:
        origin = request.headers.get('Origin')
        if origin and ('*' in origins or origin in origins):
            response.headers['Access-Control-Allow-Origin'] = origin
            response.headers['Access-Control-Expose-Headers'] = EXPOSED
            response.headers.add('Vary', 'Origin')
            if request.method == 'OPTIONS':
                wanted = request.headers.get('Access-Control-Request-Headers', 'Authorization, Content-Type')
                response.headers['Access-Control-Allow-Headers'] = wanted
                response.headers['Access-Control-Allow-Methods'] = 'GET, POST, DELETE, OPTIONS'
                response.headers['Access-Control-Max-Age'] = MAX_AGE
        return response
