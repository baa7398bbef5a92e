"""
History to model: replay, train, evaluate, export.
"""
