"""What one reader may do with one stream."""

from typing import Final, NamedTuple


class Access(NamedTuple):
    may_read: bool
    may_write: bool
    since: int = 0  # the version at which it began: what was gone before it is redacted; 0: nothing is


NO_ACCESS: Final = Access(may_read=False, may_write=False)
