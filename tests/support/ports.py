"""Ports for servers that must be found again where they were."""

import random
import socket

# Below those that the system gives to outgoing connections, which would take one between two starts.
FROM, TO = 10_000, 32_000


def free_port() -> int:
    while True:
        port = random.randint(FROM, TO)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
