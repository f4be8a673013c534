"""The least a Flask application can do with a request: give its bytes back."""

from flask import Flask, Response, request

app = Flask(__name__)


@app.post('/v1/chat/completions')
def echo() -> Response:
    return Response(request.get_data(), mimetype='application/json')
