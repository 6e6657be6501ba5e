"""An event in the log: its forms, its bytes, its stream and its place; what of it a reader may see."""
