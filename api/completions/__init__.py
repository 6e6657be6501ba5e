"""Routes that ask a model: Open WebUI's completions, OpenAI's dialect, the list of models, and stopping what is being generated."""
