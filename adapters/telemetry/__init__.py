"""Traces and metrics by OpenTelemetry, sent over OTLP/HTTP: the extra ``stenograph[otel]``. Begin with ``telemetry.py``.

Nothing outside imports this folder before it is switched on: without it OpenTelemetry is not loaded.
"""
