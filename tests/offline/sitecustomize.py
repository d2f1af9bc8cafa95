"""On PYTHONPATH it cuts the network of every Python process that starts: only this machine itself can be reached."""

import socket
import sys

HERE = ("127.0.0.1", "::1", "localhost")


def refuse(event: str, arguments: tuple[socket.socket, tuple[str, int]]) -> None:
    """Python's audit hook, called before each connection."""
    if event == "socket.connect" and arguments[0].family != socket.AF_UNIX and arguments[1][0] not in HERE:
        raise OSError(f"the network is cut: {arguments[1]}")


sys.addaudithook(refuse)
