"""The command line: ``graphprune compress``, ``inspect``, ``verify``, ``passes``."""

from graphprune.cli.main import cli, main

__all__ = ["cli", "main"]
