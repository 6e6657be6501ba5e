"""The routes of channels, in the reference's paths: ``channels.py`` has channels and members, ``messages.py`` what is said in them."""
