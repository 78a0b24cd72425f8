"""The command `openapi`."""

import json

from service.cli.output import say


def openapi() -> None:
    """Print the OpenAPI document, as /openapi.json serves it with these settings."""
    from service.app import create_app
    from service.settings.loading import load

    say(json.dumps(create_app(load()).openapi(), indent=2))
