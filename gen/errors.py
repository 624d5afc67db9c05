"""What goes wrong through no fault of ours: every message is one line that names the culprit."""

from __future__ import annotations


__all__ = ["ConfigError", "ModelError", "OarlockError"]


class OarlockError(Exception):
    """Base of all errors that a user can cause and mend; the text is one line for the terminal."""


class ModelError(OarlockError):
    """A network file that cannot be read, is damaged, or holds something unsupported.

    The text starts with the file's path: ``model.tflite: operator 3 (TRANSPOSE_CONV) is not
    supported``.
    """


class ConfigError(OarlockError, ValueError):
    """A configuration value out of its range, or an unknown key."""
