"""
Where transactions come from: files, standard input, a synthetic stream.
"""
