"""Ports for servers that restart on the same port."""

import random
import socket

# Below the range of outgoing connections, one of which could take the port between two starts.
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
