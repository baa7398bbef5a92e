"""
Decide payments in real time and exactly once: a fleet of Redis Streams workers.
"""

__version__ = "0.1.0"
