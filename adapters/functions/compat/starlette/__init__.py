"""Of Starlette: the classes that functions return or are given."""
