"""Is the log as it was written? One module per check, pure: they are given events in order and name what can't be.

It lies in ``domain`` because it says what a log may hold, as ``chat.py`` says what may be put in; nothing here knows Postgres
(``adapters/postgres/verify.py`` reads for it). Start with ``finding.py`` (what a check is), then ``answers.py`` (the one that reads text),
``log.py`` puts them together.

What it proves: the log is whole in itself. Whoever may write everything can make another log that is whole in itself, or drop its newest
events. Against that only something kept outside helps; it would be a check of its own, beside these.
"""
