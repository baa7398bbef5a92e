"""
The proof by breaking: a fleet of real processes, a seeded plan of faults, and books that must balance afterwards.
"""
