"""
Every key and stream name, built in this one place from (partition, kind, id).

In partitioned mode every name of a partition carries the same hash tag, so that each script touches one slot.
"""

import zlib

import msgspec

RAW, DECISIONS, FRAUD, DLQ, LABELS = (f"transactions:{kind}" for kind in ("raw", "decisions", "fraud", "dlq", "labels"))
UNDELIVERABLE = "alerts:undeliverable"
#: What was told, answered and snoozed, until it is on record in the database.
JOURNAL = "alerts:journal"
#: Which rule set is in force, and the history of the rules; one slot holds them and every body.
RULES_ACTIVE, RULES_LOG = "rules:{default}:active", "rules:{default}:log"
#: What each worker works by, and how often a rule may fire after its backtest; see ``redis_rules``.
RULES_APPLIED, RULES_EXPECTED = "rules:{default}:applied", "rules:{default}:expected"
#: Which version of each list is in force, and the history of the lists; one slot holds them and every body.
LISTS_ACTIVE, LISTS_LOG = "lists:{default}:active", "lists:{default}:log"
#: Which models are in use, the history of that, and what shadows said lately; one slot holds them and every note.
MODELS_ACTIVE, MODELS_LOG, MODEL_SHADOWS = (f"models:{{default}}:{kind}" for kind in ("active", "log", "shadow_scores"))
#: The key of the tokens that stand for people, where the settings give none.
TOKENS = "tokens:{default}:key"
#: The hash tag of what there is one of for the whole fleet: rules, lists, models, and who serves which partition.
SHARED_TAG = "{default}"
#: How many partitions the streams and states of this deployment were laid out in; absent where there is one.
PARTITION_COUNT = "partitions:{default}:count"

#: The groups that must have acknowledged an entry before the janitor may drop it, by stream.
GROUPS: dict[str, tuple[str, ...]] = {
    RAW: ("fraud-check", "ml-scoring"),
    DECISIONS: ("recorder",),
    FRAUD: ("alerter",),
    LABELS: ("labels",),
}
#: The stream that each group reads.
STREAM_OF: dict[str, str] = {group: stream for stream, groups in GROUPS.items() for group in groups}
#: First byte of a verdict's record.
GROUP_BYTE: dict[str, bytes] = {"fraud-check": b"F", "ml-scoring": b"M"}
#: The group that the other verdict comes from.
OTHER_GROUP: dict[str, str] = {"fraud-check": "ml-scoring", "ml-scoring": "fraud-check"}
#: The deciding group that goes first; the other follows it where it can.
FOLLOWED = "fraud-check"


def rules_body(rule_set: str) -> str:
    """
    Return where the text of a rule set is kept, by its SHA-256.
    """
    return f"rules:{{default}}:body:{rule_set}"


def model_note(model: str) -> str:
    """
    Return where it is kept what is known of a model, by its SHA-256.
    """
    return f"models:{{default}}:note:{model}"


def lists_key(kind: str, rest: str) -> str:
    """
    Return where something of the lists is kept: ``body`` and ``upload`` by version, ``hits`` and ``last`` by name.
    """
    return f"lists:{{default}}:{kind}:{rest}"


class Keys(msgspec.Struct, frozen=True):
    """
    The names of one partition; ``tag`` is empty when there is only one, else for example ``{p03}``.
    """

    tag: str = ""

    def stream(self, name: str) -> str:
        """
        Return a stream of this partition.
        """
        return f"{name}:{self.tag}" if self.tag else name

    def _key(self, kind: str, rest: str) -> str:
        return f"{kind}:{self.tag}:{rest}" if self.tag else f"{kind}:{rest}"

    def prefix(self, kind: str) -> str:
        """
        Return what every key of a kind begins with (``txn``, ``log``, ``ring``): the caller appends the id.
        """
        return self._key(kind, "")

    def txn(self, transaction_id: str) -> str:
        """
        Where a transaction stands.
        """
        return self._key("txn", transaction_id)

    def waiting(self, group: str) -> str:
        """
        Ranges of entries whose other verdict is there and this group's is missing.
        """
        return self._key("waiting", group)

    def news(self, group: str) -> str:
        """
        The channel on which first verdicts of a group are told; no key.
        """
        return self._key("news", group)

    def heartbeat(self, group: str, stream: str) -> str:
        """
        Consumers of a group and when their life runs out.
        """
        return self._key("heartbeat", group if STREAM_OF.get(group) == stream else f"{group}:{stream}")

    def trouble(self, group: str, stream: str) -> str:
        """
        What the consumers of a group complain of lately.
        """
        return self.heartbeat(group, stream).replace("heartbeat:", "trouble:", 1)

    def retry(self, group: str, stream: str) -> str:
        """
        Entries that were given back and when they are due again.
        """
        return self._key("retry", group if STREAM_OF.get(group) == stream else f"{group}:{stream}")

    def doubts(self, group: str, stream: str) -> str:
        """
        Entries with how many deaths they may or may not be the reason of.
        """
        return self._key("doubts", group if STREAM_OF.get(group) == stream else f"{group}:{stream}")

    def dead(self, stream: str, part: str) -> str:
        """
        The mark that a dead letter exists; ``part`` is the entry id, or a transaction id inside an entry.
        """
        return self._key("dead", f"{stream}:{part}")

    def alert_of(self, transaction_id: str) -> str:
        """
        The alert group that a flagged transaction is in.
        """
        return self._key("alertof", transaction_id)

    def alert_open(self, key: str) -> str:
        """
        The newest alert group of a family and entity.
        """
        return self._key("alertopen", key)

    def alert_group(self, alert_id: str) -> str:
        """
        One alert group, or one digest.
        """
        return self._key("alertgroup", alert_id)

    def alert_members(self, alert_id: str) -> str:
        """
        The payments of a group, or those that a digest tells of, in order.
        """
        return self._key("alertmembers", alert_id)

    def alert_due(self, channel: str) -> str:
        """
        Groups that a channel is to be told of, and when.
        """
        return self._key("alertdue", channel)

    def alert_desk(self, channel: str) -> str:
        """
        Who leads a channel, and whether there is a storm on it.
        """
        return self._key("alertdesk", channel)

    def alert_digests(self, channel: str) -> str:
        """
        The open digests of a channel, by reason.
        """
        return self._key("alertdigests", channel)

    def alerts(self, kind: str) -> str:
        """
        What there is one of: ``opened``, ``recent``, ``snoozes``.
        """
        return self._key("alerts", kind)


class Partitions(msgspec.Struct, frozen=True):
    """
    How many partitions there are, the names of each, and which of them a word belongs to.

    With one partition the names are plain. The same words belong elsewhere when ``count`` changes: it is chosen once.
    """

    count: int = 1

    def keys(self, partition: int) -> Keys:
        """
        Return the names of one partition, from 0 on.
        """
        return Keys() if self.count == 1 else Keys(f"{{p{partition:02d}}}")

    def all(self) -> list[Keys]:
        """
        Return the names of every partition in order.
        """
        return [self.keys(partition) for partition in range(self.count)]

    def of(self, word: str) -> int:
        """
        Return where a word belongs: CRC-32 of its UTF-8 bytes modulo the count, which a producer in any language can compute.

        Example:
            >>> Partitions(8).of("user_1")
            0
        """
        return zlib.crc32(word.encode()) % self.count


def lease_members(group: str) -> str:
    """
    Return where the workers of a group that share partitions are kept, and how long each lives without another sign.
    """
    return f"partitions:{SHARED_TAG}:workers:{group}"


def lease_owners(group: str) -> str:
    """
    Return where it is kept who serves which partition of a group, and under which fencing number.
    """
    return f"partitions:{SHARED_TAG}:owners:{group}"
