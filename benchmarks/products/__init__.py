"""The products that are measured, in the order of the table."""

from benchmarks.product import Product
from benchmarks.products import echo, litellm, llmhost, nginx, portkey

PRODUCTS = (
    Product('echo', echo.start),
    Product('nginx', nginx.start),
    Product('llmhost', llmhost.start),
    Product('litellm', litellm.start, start_timeout=90.0),
    Product('portkey', portkey.start),
)
