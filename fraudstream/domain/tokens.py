"""
Keyed tokens that stand for a card number, an e-mail address or a phone number: always the same, and nobody's without the key.
"""

import hmac
import re
from operator import attrgetter
from typing import Any

import msgspec

from fraudstream.domain.errors import InvalidSettings
from fraudstream.domain.transaction import Transaction

#: Sixteen letters for the sixteen hexadecimal digits, so that no token holds a run of digits.
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
#: A token of ours, and for an e-mail address the domain behind it.
TOKEN = re.compile(r"(?:card|phone)_[a-p]{32}|email_[a-p]{32}@[A-Za-z0-9.-]+")
#: An e-mail address (or the token of one), and a phone number in international form.
EMAIL = re.compile(r"([A-Za-z0-9._%+-]+)@([A-Za-z0-9.-]+\.[A-Za-z]{2,})")
PHONE = re.compile(r"\+[0-9][0-9 ().-]{7,16}[0-9]")
#: Texts whose tokens are remembered, and the longest of them: the same people come again, and a keyed hash takes a while.
_REMEMBERED, _LONGEST_REMEMBERED = 16_384, 256
#: Shortest key, in bytes.
_SHORTEST_KEY = 16
_NOT_DIGITS = re.compile(r"[^0-9]")
#: The texts of a transaction that a producer may fill as it likes.
_TEXTS = tuple(
    name
    for name in Transaction.__struct_fields__
    if name not in ("currency", "latitude", "longitude", "metadata") and not name.endswith(("_minor", "_ms"))
)

_texts_of = attrgetter(*_TEXTS)


def keyed(kind: str, key: bytes, value: str) -> str:
    """
    Return ``kind`` and 32 letters: the first 128 bits of a keyed hash over a value.

    Whoever has the key can find the value again by trying: keep it where the tokens are not.

    References:
        PCI DSS v4.0.1, requirement 3.5.1.1 (keyed hashes over the whole number); RFC 2104.
    """
    return f"{kind}_{hmac.digest(key, value.encode(), 'sha256')[:16].hex().translate(_LETTERS)}"


class Tokens:
    """
    Puts tokens in the place of personal data, under one key; equal in all workers, or one person becomes two.

    Args:
        key: At least sixteen bytes that nobody guesses.

    Raises:
        InvalidSettings: The key is shorter.
    """

    def __init__(self, key: bytes) -> None:
        self.adopt(key)

    def adopt(self, key: bytes) -> None:
        """
        Go on with another key.

        Raises:
            InvalidSettings: It is too short; the old one stays.
        """
        if len(key) < _SHORTEST_KEY:
            raise InvalidSettings(
                f"the key of tokens has {len(key)} bytes; at least {_SHORTEST_KEY} are needed: openssl rand -hex 32"
            )
        self.key = key
        self._remembered: dict[str, str] = {}

    def card(self, number: str) -> str:
        """
        Return the token of a card number; blanks and dashes do not matter.
        """
        return keyed("card", self.key, number.replace(" ", "").replace("-", ""))

    def email(self, address: str) -> str:
        """
        Return the token of an e-mail address; case does not matter. The domain stays: rules look at it.
        """
        name, _, domain = address.strip().partition("@")
        return f"{keyed('email', self.key, f'{name}@{domain}'.lower())}@{domain}"

    def phone(self, number: str) -> str:
        """
        Return the token of a phone number; everything but its digits does not matter.
        """
        return keyed("phone", self.key, _NOT_DIGITS.sub("", number))

    def text(self, text: str) -> str:
        """
        Return a text with tokens in the place of e-mail addresses and phone numbers; tokens stay.
        """
        if "@" not in text and "+" not in text:
            return text
        known = self._remembered.get(text)
        if known is None:
            known = self._without_people(text)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            if len(text) <= _LONGEST_REMEMBERED:
                self._remembered[text] = known
        return known

    def _without_people(self, text: str) -> str:
        if "@" in text:
            text = EMAIL.sub(lambda match: match[0] if TOKEN.fullmatch(match[0]) else self.email(match[0]), text)
        if "+" in text:
            text = PHONE.sub(lambda match: self.phone(match[0]), text)
        return text

    def value(self, value: Any) -> Any:
        """
        Return a JSON value with tokens in every text of it, names included.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(one) for name, one in value.items()}
        return [self.value(one) for one in value] if isinstance(value, list) else value

    def transaction(self, transaction: Transaction) -> Transaction:
        """
        Return a transaction that says of nobody who it was, and of everybody whether it was the same.
        """
        changes: dict[str, Any] = {}
        for name, text in zip(_TEXTS, _texts_of(transaction), strict=True):
            if text and ("@" in text or "+" in text):
                changes[name] = self.text(text)
        if transaction.metadata:
            changes["metadata"] = self.value(transaction.metadata)
        return msgspec.structs.replace(transaction, **changes) if changes else transaction
