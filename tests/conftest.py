"""Puts this folder on the path, for the helpers that test modules of several folders share."""
