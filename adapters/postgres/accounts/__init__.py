"""What Postgres holds of accounts besides their events: credentials, sign-ins, when they were active, and what they use."""
