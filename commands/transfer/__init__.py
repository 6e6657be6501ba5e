"""Chats in and out of the log as files: imports from elsewhere, exports, and restores of exports."""
