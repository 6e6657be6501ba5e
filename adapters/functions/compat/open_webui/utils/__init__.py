"""Of Open WebUI: what functions import."""
