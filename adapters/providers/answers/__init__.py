"""What all streamed answers share: new text, ends, sources, usage, and text that may be stored."""
