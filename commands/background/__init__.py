"""Work after an answer: a title, tags, and questions to go on with. Start reading in ``work.py``; ``prompts.py`` has what a model is asked,
``reading.py`` what its answer is understood as.
"""
