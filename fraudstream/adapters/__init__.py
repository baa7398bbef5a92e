"""
Everything that speaks to a server; vendor types and errors stop here.
"""
