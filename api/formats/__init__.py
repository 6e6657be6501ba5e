"""A chat as a file that a person or another program reads: Markdown, HTML, Open WebUI's JSON. Pure, without routes."""
