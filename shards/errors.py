"""Errors that are the user's or the data's fault: one plain message, no traceback, exit code 1.

A message says what is wrong, where, what was expected, and what to do next.
"""

from __future__ import annotations


class UserError(Exception):
    """Base of everything a console script prints as one message; `assert` is for what cannot happen."""


class ConfigError(UserError):
    """A setting that is unknown, of the wrong type, or at odds with another."""


class ShardError(UserError):
    """A shard set that is missing, unfinished, damaged, or not the one expected."""
