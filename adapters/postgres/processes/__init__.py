"""Tables by which server processes work together: heartbeats, relayed calls, and which process sends which outgoing webhook."""
