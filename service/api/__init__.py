"""The HTTP API: classify light curves and packets; objects, models, health; the web page."""

from service.api.access import ApiKeyError
from service.api.app import create_app

__all__ = ["ApiKeyError", "create_app"]
