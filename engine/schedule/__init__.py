"""Jobs that come round: when they are due, what becomes of each tick, and the book that keeps it."""
