"""What answers: models, providers, functions, and the calls to the user that they make."""
