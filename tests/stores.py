"""What goes with a log in a test: the tables beside it in Postgres, or one twin for each log in memory."""

from weakref import WeakKeyDictionary

from adapters.memory.accounts.activity import MemoryActivity
from adapters.memory.accounts.run_slots import MemoryRunSlots
from adapters.memory.blobs import MemoryBlobs
from adapters.memory.log import MemoryLog
from adapters.memory.nodes import MemoryNodes
from adapters.postgres.accounts.activity import PostgresActivity
from adapters.postgres.accounts.run_slots import PostgresRunSlots
from adapters.postgres.log.blobs import PostgresBlobs
from adapters.postgres.log.log import PostgresLog
from adapters.postgres.processes.nodes import PostgresNodes

_blobs: WeakKeyDictionary[MemoryLog, MemoryBlobs] = WeakKeyDictionary()
_nodes: WeakKeyDictionary[MemoryLog, MemoryNodes] = WeakKeyDictionary()
_run_slots: WeakKeyDictionary[MemoryLog, MemoryRunSlots] = WeakKeyDictionary()
_activity: WeakKeyDictionary[MemoryLog, MemoryActivity] = WeakKeyDictionary()


def blobs_of(log: MemoryLog | PostgresLog) -> MemoryBlobs | PostgresBlobs:
    if isinstance(log, PostgresLog):
        return PostgresBlobs(log.reader)
    return _blobs.setdefault(log, MemoryBlobs())


def nodes_of(log: MemoryLog | PostgresLog) -> MemoryNodes | PostgresNodes:
    if isinstance(log, PostgresLog):
        return PostgresNodes(log.reader)
    return _nodes.setdefault(log, MemoryNodes(log))


def run_slots_of(log: MemoryLog | PostgresLog) -> MemoryRunSlots | PostgresRunSlots:
    if isinstance(log, PostgresLog):
        return PostgresRunSlots(log.reader)
    return _run_slots.setdefault(log, MemoryRunSlots(log, _nodes.setdefault(log, MemoryNodes(log))))


def activity_of(log: MemoryLog | PostgresLog) -> MemoryActivity | PostgresActivity:
    if isinstance(log, PostgresLog):
        return PostgresActivity(log.reader)
    return _activity.setdefault(log, MemoryActivity())
