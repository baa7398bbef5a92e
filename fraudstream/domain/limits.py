"""
How large, how deep and how far ahead what a producer sends may be.
"""

#: Largest body of one transaction, in bytes.
MAX_BODY_BYTES = 64 * 1024
#: Longest transaction id, in bytes of UTF-8.
MAX_ID_BYTES = 128
#: Longest value of any other text field, in bytes of UTF-8: it becomes part of a key.
MAX_TEXT_BYTES = 1024
#: Largest amount, in minor units of its currency.
MAX_AMOUNT_MINOR = 10**12
#: Deepest nesting of what is kept as metadata: whoever reads it later has less stack left than the parser had.
MAX_METADATA_DEPTH = 32
#: How far ahead of Redis a payment's own time may be, in milliseconds: clocks differ, but not by more.
MAX_AHEAD_MS = 300_000
