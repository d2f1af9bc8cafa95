"""Progress of long loops: a bar on a terminal, plain lines with the time left in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
logger = logging.getLogger(__name__)


def track(iterable: Iterable[T], total: int, label: str, seconds: float = 10.0) -> Iterator[T]:
    """Yield from ``iterable``; show a bar where stderr is a terminal, else log a line every ``seconds`` seconds.

    A line reads ``label 1200/5000, 12.3/s, 5 min left``; the last one comes when the loop is done.
    """
    if sys.stderr.isatty():
        yield from tqdm(iterable, total=total, desc=label, leave=False)
        return
    started = logged = time.monotonic()
    done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - logged >= seconds and done < total:
            logged = now
            rate = done / (now - started)
            left = describe_seconds((total - done) / rate)
            logger.info("%s %d/%d, %s/s, %s left", label, done, total, _describe_rate(rate), left)
    logger.info("%s %d/%d, took %s", label, done, total, describe_seconds(time.monotonic() - started))


def describe_seconds(seconds: float) -> str:
    """A duration for people: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 5 h``."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def _describe_rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
