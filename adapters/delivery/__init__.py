"""From the log to the subscriptions of this process: ``log_tail.py`` reads every committed event once, ``hub.py`` hands them out."""
