"""
One straight road per consumer group: batch in, commit out.
"""
