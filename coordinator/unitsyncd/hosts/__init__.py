"""Startups that span hosts: what hosts tell each other, and what follows from it, pure.

nats/ speaks to the log. docs/explanation/hosts.md has the design.
"""
