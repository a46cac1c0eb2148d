"""Odd but real environments: what is missing, full, foreign or read-only in them."""

from __future__ import annotations

from cli.conftest import cli, shared_cli

__all__ = ["cli", "shared_cli"]
