"""How somebody else's services are told what happens here. ``http.py`` sends."""
