"""A client to be killed: python lone_client.py URL < BODY prints each line of the answer as it comes."""
import http.client
import sys
from urllib.parse import urlsplit

parts = urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(parts.hostname or '', parts.port)
connection.request('POST', parts.path, sys.stdin.buffer.read(), {'Content-Type': 'application/json'})
response = connection.getresponse()
while line := response.readline():
    print(line.decode(), end='', flush=True)
