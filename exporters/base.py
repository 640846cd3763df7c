"""What an exporter is: a frozen dataclass that writes a captured model into a folder."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import ClassVar

from graphprune.capturing.capture import Captured


class Exporter(abc.ABC):
    """Base of exporters, registered under the entry-point group ``graphprune.exporters``.

    Subclasses are frozen dataclasses whose fields are their options.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def export(self, captured: Captured, folder: Path) -> tuple[Path, ...]:
        """Write into ``folder``, which exists and is empty.

        Args:
            captured: the model, on the CPU and in evaluation mode, with example inputs.
            folder: where to write; it is moved to its place afterwards.

        Returns:
            The files (or folders) written, each below ``folder``, the main one first.

        Raises:
            ModelError: the model cannot be written in this format; the message says why.
        """
