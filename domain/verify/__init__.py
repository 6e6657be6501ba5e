"""Is the log as it was written? One pure module for each check: it is given events in order and reports what must not be there.

It is part of ``domain`` because it defines what a log may hold. ``adapters/postgres/log/verify.py`` reads the log for it. Start with
``finding.py`` (what a check is), then ``answers.py`` (the check that reads text); ``log.py`` puts them together.

It proves that the log is consistent in itself. A person with write access to everything can make another consistent log, or drop the
newest events; only a record that is kept elsewhere reveals that.
"""
