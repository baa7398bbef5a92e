"""
The composition root: which concrete thing each room gets, for every kind of process.
"""
