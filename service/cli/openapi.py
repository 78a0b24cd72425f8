"""The command `openapi`."""

import json
from tempfile import TemporaryDirectory

from service.cli.output import say


def openapi() -> None:
    """Print the OpenAPI document, as /openapi.json serves it with these settings."""
    from service.app import create_app
    from service.settings.loading import load

    with TemporaryDirectory() as folder:  # an app makes the folder of its database
        say(json.dumps(create_app(load(data_dir=folder)).openapi(), indent=2))
