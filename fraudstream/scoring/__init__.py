"""
The model: features in, fraud probability and reasons out; pure.
"""
