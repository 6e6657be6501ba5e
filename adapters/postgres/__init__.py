"""The ports of ``commands`` and ``projections`` on Postgres, in one folder for each subject.

Start with ``appending/appender.py``, which writes all events. ``log/log.py`` reads them, ``log/bell.py`` wakes other processes, and
``reading/chat_queries.py`` reads the rows of chats. Every folder imports ``connections``.
"""
