"""Other systems' live protocols on the same log: each a room of its own. A dialect of completions is below ``api/completions``."""
