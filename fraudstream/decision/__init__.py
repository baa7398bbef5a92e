"""
Evidence and policy in, outcome and reasons out; pure.
"""
