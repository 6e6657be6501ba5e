"""The way into the log: requests as they wait, and the appender that makes batches of them."""
