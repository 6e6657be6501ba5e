"""What admins and their tools ask of the figures.

``reports.py`` is what Open WebUI's page of analytics asks, ``query.py`` any question of the catalogue, in the formats of ``tables.py``.
"""
