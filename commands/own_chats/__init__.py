"""Changes of all of a person's own chats, and their deletion, which ends what runs in them first."""
