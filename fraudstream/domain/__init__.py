"""
The nouns that flow through the system; no behaviour beyond reading and writing them.
"""
