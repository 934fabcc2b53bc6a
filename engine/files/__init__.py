"""What a job brings home, as files: parts of an export (`part`) and the archive of what is about to go (`archive`).

Synchronous, and knows nothing of jobs: whoever uses it runs it in a worker thread and writes down what it returns.
"""
