"""Runs the units of a plan, each the moment it may."""
