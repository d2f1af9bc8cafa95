"""The type of the `below` fixture of the tests on a GPU."""

from collections.abc import Callable

Below = Callable[[str, float, float], None]
"""Called with what was measured, its value and its bound; asserts that the value is below."""
