"""What `serve --metrics` shows to Prometheus.

No coordinator without it loads more than the settings.
"""
