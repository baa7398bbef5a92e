"""
From where on something is bad: one number for the colour on a dashboard, the alert and the words of ``fraudstream status``.
"""

#: Objectives over 30 days: the share of events that must meet theirs.
OBJECTIVES = {"decision-latency": 0.995, "decision-success": 0.999, "alert-delivery": 0.99}
#: From the entry in the stream to the decision, and from the decision to a person.
LATENCY_S, DELIVERY_S = 0.25, 30.0
#: Burn rates: how many times faster than the budget of 30 days lasts. Google SRE workbook, chapter 5.
PAGE_FAST, PAGE_SLOW, TICKET_FAST, TICKET_SLOW = 14.4, 6.0, 3.0, 1.0
#: Age in seconds of the oldest entry that a group has not read, and of the oldest that it has not acknowledged.
UNREAD_S, PENDING_S = 30.0, 120.0
#: Unread entries below which growing is no news.
GROWING_ENTRIES = 1000
#: Age in seconds of a loop's last turn, and of the last commit.
STUCK_S, STALE_S = 30.0, 120.0
#: Share of maxmemory that is worth a look, and the one above which producers are refused.
MEMORY_HIGH, MEMORY_FULL = 0.7, 0.8
#: Share of a stream's admission limit.
STREAM_FULL = 0.8
#: Share of decisions that are made without the opinion of a group.
DEGRADED = 0.01
#: Share of writes, of notifications and of tries that do not go through.
WRITES, NOTIFICATIONS, TRIES = 0.05, 0.1, 0.5
#: Seconds that 90 of 100 writes must stay below.
SLOW_WRITE_S = 1.0
#: Dead letters in 15 minutes, their share, and the age in seconds of one that nobody has looked at.
LETTERS, LETTERS_SHARE, LETTER_AGE_S = 10, 0.001, 86_400.0
#: Share of transactions that failed or were given up.
FAILED = 1 - OBJECTIVES["decision-success"]
#: Population stability index from which on scores have drifted; 0.1 is moderate (Siddiqi 2006).
DRIFT = 0.25
#: Share of last week's precision or recall that is a fall, and known frauds below which it is chance.
WORSE, WORSE_FRAUDS = 0.67, 20
#: How many times yesterday's share of blocks is a shift.
BLOCK_SHIFT = 3
