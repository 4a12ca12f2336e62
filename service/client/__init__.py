"""A Python client of the service: `Client` and `AsyncClient`, typed, with retries.

from alert_classifier import Client

with Client("http://localhost:8000") as client:
    answer = client.classify(mjd=[60313.3, 60316.2], band=["r", "g"], mag=[19.8, 19.1])
    table = client.classify_table(points)          # pandas or astropy in, the same out, a row per object
    for supernova in client.objects(top_class="SNIa", min_probability=0.9):
        ...
"""

from service.client.answers import Classification, Neighbour, ServiceError, ServiceUnreachableError, StoredObject
from service.client.clients import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "Neighbour",
    "ServiceError",
    "ServiceUnreachableError",
    "StoredObject",
]
