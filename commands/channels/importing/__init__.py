"""Channels from elsewhere. A source (``slack.py``, ``mattermost.py``, ``chitchat.py``) says what there is; ``importer.py`` writes it."""
