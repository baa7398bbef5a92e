"""
How evenly partitions fall on the servers of a cluster.
"""

from collections import Counter

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from fraudstream.adapters.redis_keys import Partitions


def partitions_per_server(partitions: Partitions, servers: int) -> list[int]:
    """
    Return how many partitions each of so many servers has, the slots being shared out evenly and in order.
    """
    found = Counter(key_slot(keys.tag.encode()) * servers // REDIS_CLUSTER_HASH_SLOTS for keys in partitions.all())
    return [found[server] for server in range(servers)]
