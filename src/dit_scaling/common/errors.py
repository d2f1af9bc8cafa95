"""Exceptions that are meant for the person at the keyboard."""


class UserError(Exception):
    """Bad input: the message says what is wrong, where (file, key, shard), and what to do.

    Command lines and job scripts print the message as one paragraph and exit with code 2.
    """


class LackingMemoryError(UserError):
    """The memory of the device, or of this machine, is not enough; told like bad input, but no fault of what ran."""


class DiskError(UserError, OSError):
    """The disk is full, read-only or failing; told like bad input, but an OSError where the file is dispensable."""
