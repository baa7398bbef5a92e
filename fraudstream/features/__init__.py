"""
Feature definitions, entity records and the kernel that turns states into numbers; pure.
"""
