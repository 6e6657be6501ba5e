"""Whole chats that become new ones: imports from elsewhere, restores of exports, copies; and exports."""
