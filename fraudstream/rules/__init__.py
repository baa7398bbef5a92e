"""
The rule language, its checker and its evaluators; pure.
"""
