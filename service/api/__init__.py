"""HTTP: light curves and packets in, classifications out; objects, models, health; the web page."""

from service.api.access import ApiKeyError
from service.api.app import create_app

__all__ = ["ApiKeyError", "create_app"]
