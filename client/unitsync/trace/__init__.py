"""A startup as a trace of OpenTelemetry."""
