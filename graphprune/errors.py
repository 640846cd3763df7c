"""Errors meant for the user: one line saying what was wrong, where, and what to do."""

from __future__ import annotations


class GraphpruneError(Exception):
    """Base of every error graphprune raises on purpose.

    The message is a single line. ``exit_code`` is the status the command line ends with.
    """

    exit_code = 1


class UsageError(GraphpruneError):
    """The user asked for something that cannot be done as asked (wrong input, option or file)."""

    exit_code = 2


class ModelError(UsageError):
    """The model file or object cannot be loaded or captured."""


class UnsafePickleError(ModelError):
    """Loading would unpickle, and therefore run, code from the file."""


class DataError(UsageError):
    """The data cannot be read or do not fit the model."""


class TargetError(UsageError):
    """The pruning target is malformed or cannot be reached."""


class CertificateError(GraphpruneError):
    """The compressed model is not proved equal to its reference; nothing may be delivered."""

    exit_code = 3


class TrainingError(GraphpruneError):
    """Learning or fine-tuning went wrong (for example a loss that is not finite)."""

    exit_code = 4


class PassError(GraphpruneError):
    """A graph pass failed; the message names the pass and those run before it."""

    exit_code = 5
