"""Telling of jobs: what a spec asks to be told of, what is said, and how it gets there."""
