"""What analysts get: the rows of figures, the views over them, and the logins that may read these."""
