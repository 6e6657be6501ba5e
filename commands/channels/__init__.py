"""Channels: commands become events of the channel and of the people whom they concern. Start with ``channels.py``."""
