"""Servers of pipelines, over HTTP: filters in the protocol of ``open-webui/pipelines``. Start at ``http.py``."""
