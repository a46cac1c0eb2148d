"""Startups that span hosts: tells other coordinators about the units of this one, and hears of
theirs, over NATS JetStream. docs/explanation/hosts.md has the design."""
