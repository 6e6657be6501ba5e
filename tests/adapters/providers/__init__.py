"""Providers against real servers on this machine; nothing of httpx is replaced."""
