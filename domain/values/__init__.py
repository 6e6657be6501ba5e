"""Values that all subjects share: text that may be stored, names, times, keys, mappings."""
