"""
The worker runtime: read, reclaim, retry, dead-letter, drain, heartbeat. It knows nothing of fraud.
"""
