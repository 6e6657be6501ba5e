"""Traces and metrics by OpenTelemetry, against a receiver that speaks its protocol."""
