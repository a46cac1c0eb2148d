"""The coordinator's process. Nothing here is public API; see the unitsync package."""
