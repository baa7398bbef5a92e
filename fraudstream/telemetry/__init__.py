"""
Every event and metric, declared once, and the redactor that all text passes.
"""
