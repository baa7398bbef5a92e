"""
Entries that cannot be processed, of three kinds: no transaction, one that makes a judge raise, one that takes the process down.
"""

import json
import random

#: Beginning of the ids that end the process in which the model looks at them.
KILLS = "poison-kills-"
#: Beginning of the ids that make a judging step raise, by step. Each makes one group fail, never both.
RAISES = {"rules": "poison-raises-rules-", "model": "poison-raises-model-"}


def undecodable(number: int, rng: random.Random) -> bytes:
    """
    Return a body that is no transaction and unlike every other.
    """
    tag = f"poison-undecodable-{number}-"
    return rng.choice(
        (
            f'{{"transaction_id": "{tag}", "amount": '.encode(),
            f'{{"transaction_id": "{tag}", "amount": "much", "timestamp": 1747000000}}'.encode(),
            f'["{tag}"]'.encode(),
            b"\xff\xfe" + tag.encode(),
        )
    )


def poisoned(body: bytes, transaction_id: str) -> bytes:
    """
    Return a payment under the id of a poison.
    """
    return json.dumps({**json.loads(body), "transaction_id": transaction_id}).encode()


def undecodable_of(body: bytes) -> str | None:
    """
    Return the tag of an undecodable body, or of what a dead letter keeps of it; None where there is none.
    """
    at = body.find(b"poison-undecodable-")
    if at < 0:
        return None
    return body[at : body.find(b"-", at + len(b"poison-undecodable-"))].decode()
