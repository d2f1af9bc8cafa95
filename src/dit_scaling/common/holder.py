"""Who does something: a process that can be looked for later, also after it was killed."""

import os
import socket

import psutil
from pydantic import BaseModel

STALE_SECONDS = 300.0  # many heartbeats, since network file systems show times late
CLOCK_SECONDS = 2.0  # how exactly a process' start is known


class Holder(BaseModel):
    """A process of some host; ids are used again, and its start tells it from others that had the same."""

    host: str
    pid: int
    started: float
    """Seconds since the epoch, by the holder's clock."""

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        return cls(host=socket.gethostname(), pid=os.getpid(), started=psutil.Process().create_time())

    def lives(self, age: float) -> bool:
        """Whether the holder still runs, as far as can be told; ``age``: seconds since its last heartbeat."""
        if self.host != socket.gethostname():
            return age < STALE_SECONDS
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < CLOCK_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
