"""
Dashboards, recording rules and alerts as code: what is asked of the metrics, what the answers mean, and what is checked of both.
"""
