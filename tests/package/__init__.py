"""What is installed: the locked versions, the built wheel, and the files of the how-to guides for operators."""
