"""
Where transactions come from: files, standard input and a synthetic world; and how they get onto the stream.

The truth, where there is one, stays here: it is joined to decisions by transaction id and never written into a body.
"""
