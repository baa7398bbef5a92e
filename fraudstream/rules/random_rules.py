"""
Random rule files, valid by construction, for setting the two evaluators against each other.
"""

from collections.abc import Callable
from random import Random

from fraudstream.rules.entries import ListEntry

#: The columns of the matrix that random rules read; one of them counts minor units.
FEATURES = ("count", "mean", "distance", "sum_minor", "latitude_before", "rare")
#: The middle of the times of random payments, and a quarter of their span.
_MIDDLE_MS, _QUARTER_MS = 1_704_067_200_000 + 200 * 86_400_000, 100 * 86_400_000
#: The lists that random rules look into; each kind of entry, and none at all.
LISTS: dict[str, tuple[str | ListEntry, ...]] = {
    "empty": (),
    "plain": ("a", "A", "ß", "日本", "10.0.0.7", "US", "x@Y.com", ""),
    "domains": ("@y.com", "@ÿ.com", "@", "b"),
    "networks": ("10.0.0.0/8", "2001:db8::/32", "0.0.0.0/32", "not/anetwork", "192.168.0.0/16"),
    "mixed": ("10.0.0.0/24", "@y.com", "a%b", "naïve"),
    "timed": (
        ListEntry("a", until_ms=_MIDDLE_MS),
        ListEntry("@y.com", since_ms=_MIDDLE_MS),
        ListEntry("10.0.0.0/8", until_ms=_MIDDLE_MS - _QUARTER_MS),
        ListEntry("10.0.0.0/16", since_ms=_MIDDLE_MS + _QUARTER_MS),
        ListEntry("US", since_ms=_MIDDLE_MS - _QUARTER_MS, until_ms=_MIDDLE_MS),
        ListEntry("US", since_ms=_MIDDLE_MS + _QUARTER_MS),
        "ß",
    ),
}
#: Texts that meet each other often, and the corners of Unicode, patterns and addresses.
TEXTS = (
    *("", "a", "A", "ab", "a%b", "a_b", "ß", "SS", "İ", "i̇", "naïve", "日本", "🂡", "x@Y.com", "x@y.com", "@", "x@", "US", "KP"),
    *(
        "USD",
        "EUR",
        "10.0.0.7",
        "10.0.0.300",
        "::ffff:10.0.0.7",
        "2001:db8::1",
        "192.168.3.4",
        "\u200b",
        "a\\b",
        "'",
    ),
)
_NUMBERS = ("0", "1", "2", "3", "5", "0.1", "0.5", "2.5", "10", "100", "1000000", "99999999999999999999", "5m", "2h", "50%")
_MONIES = ("0 USD", "1.00 USD", "5.00 USD", "5.01 EUR", "100 JPY", "12.345 KWD", "0.10 EUR")
_PATTERNS = ("", "%", "_", "a%", "%b", "a_b", "a\\\\%b", "%@%", "x", "日%", "__", "%a%a%")
_NETWORKS = ("10.0.0.0/8", "10.0.0.7", "2001:db8::/32", "128.0.0.0/1", "::/0", "192.168.0.0/16")
_TEXT_FIELDS = ("country", "currency", "card_id", "email", "ip", "merchant", "channel", "type", "device_id", "user_id")
_MONEY_FIELDS = ("amount", "balance_before", "balance_after", "counterparty_balance_before")
_ORDER = ("=", "!=", "<", "<=", ">", ">=")
#: Beyond this depth only leaves are made.
_DEPTH = 4


def random_rules(random: Random, rules: int) -> str:
    """
    Return the source of so many rules, of every class and with every clause.
    """
    writer = _Writer(random)
    return "\n".join(writer.rule(number) for number in range(rules))


class _Writer:
    def __init__(self, random: Random) -> None:
        self._random = random

    def rule(self, number: int) -> str:
        one = self._random.choice
        shadow = one(("", "", "", "shadow "))
        action = one(("hard block", "allow", "block", "challenge", "review", "score +5", "score -2.5"))
        clauses = one(("", "on_missing skip", "on_missing fire", "on_missing review"))
        clauses += one(("", f" priority {self._random.randrange(3)}"))
        clauses += one(("", "", "", f" rollout {self._random.randrange(101)}% by {one(_TEXT_FIELDS)}"))
        clauses += one(("", "", "", " active from 2024-01-01", " active until '2024-06-01T12:00:00Z'"))
        return f"{shadow}rule r{number} {action} if {self.truth(0)} {clauses}"

    def truth(self, depth: int) -> str:
        makers: list[Callable[[int], str]] = [self._numbers, self._monies, self._texts, self._set, self._list]
        makers += [self._test, self._missing, self._network, self._between, self._time, self._always]
        if depth < _DEPTH:
            makers += [self._chain, self._chain, self._chain, self._not, self._not]
        return self._random.choice(makers)(depth + 1)

    def _chain(self, depth: int) -> str:
        op = self._random.choice((" and ", " or "))
        return "(" + op.join(self.truth(depth) for _ in range(self._random.randint(2, 4))) + ")"

    def _not(self, depth: int) -> str:
        return f"not ({self.truth(depth)})"

    def _numbers(self, depth: int) -> str:
        return f"{self.number(depth)} {self._random.choice(_ORDER)} {self.number(depth)}"

    def _monies(self, depth: int) -> str:
        other = self._random.choice((self.money, self.number, self._minor))
        return f"{self.money(depth)} {self._random.choice(_ORDER)} {other(depth)}"

    def _texts(self, depth: int) -> str:
        return f"{self.text(depth)} {self._random.choice(('=', '!='))} {self.text(depth)}"

    def _between(self, depth: int) -> str:
        kind = self._random.choice((self.number, self.money))
        return f"{kind(depth)} between {kind(depth)} and {kind(depth)}"

    def _always(self, _: int) -> str:
        return self._random.choice(("true", "false"))

    def _time(self, _: int) -> str:
        return f":timestamp: {self._random.choice(_ORDER)} '2024-03-0{self._random.randint(1, 9)}'"

    def _in(self) -> str:
        return self._random.choice(("in", "not in"))

    def _set(self, depth: int) -> str:
        many = self._random.randint(1, 4)
        if self._random.random() < 0.5:
            return f"{self.text(depth)} {self._in()} ({', '.join(self._quoted() for _ in range(many))})"
        numbers = ", ".join(self._random.choice(("0", "1", "-1", "5", "0.1", "100")) for _ in range(many))
        return f"{self.number(depth)} {self._in()} ({numbers})"

    def _list(self, depth: int) -> str:
        return f"{self.text(depth)} {self._in()} @{self._random.choice(tuple(LISTS))}"

    def _test(self, depth: int) -> str:
        op = self._random.choice(("like", "startswith", "endswith", "contains"))
        return f'{self.text(depth)} {op} "{self._random.choice(_PATTERNS)}"'

    def _network(self, depth: int) -> str:
        written = ", ".join(f"'{self._random.choice(_NETWORKS)}'" for _ in range(self._random.randint(1, 2)))
        networks = self._random.choice((f"({written})", f"@{self._random.choice(tuple(LISTS))}"))
        return f"{self._random.choice((':ip:', self.text(depth)))} in_cidr {networks}"

    def _missing(self, depth: int) -> str:
        return f"is_missing({self._random.choice((self.number, self.text, self.money))(depth)})"

    def number(self, depth: int) -> str:
        leaves = (f":{self._random.choice(FEATURES)}:", self._random.choice(_NUMBERS), ":latitude:", "hour(:timestamp:)")
        if depth >= _DEPTH or self._random.random() < 0.6:
            return self._random.choice(leaves)
        one, other = self.number(depth + 1), self.number(depth + 1)
        money, text = self.money(depth + 1), self.text(depth + 1)
        choices = [f"({one} {op} {other})" for op in "+-*/"]
        choices += [f"-({one})", f"abs({one})", f"min({one}, {other})", f"max({one}, {other}, 3)", f"coalesce({one}, {other})"]
        choices += [
            f"ratio({one}, {other})",
            f"bucket({one}, {other})",
            f"log10({one})",
            f"age_days({one})",
            "weekday(:timestamp:)",
        ]
        choices += [f"length({text})", f"ratio({money}, {self.money(depth + 1)})", f"log10({money})", f"({money} + {one})"]
        choices += [f"distance_km(:latitude:, :longitude:, :latitude_before:, {one})"]
        return self._allowed(choices)

    def _allowed(self, choices: list[str]) -> str:
        # Two numbers of minor units cannot be multiplied, nor a number divided by them: those stay out.
        plain = [choice for choice in choices if "minor" not in choice and "amount" not in choice]
        return self._random.choice(plain or [":count:"])

    def _minor(self, _: int) -> str:
        return self._random.choice(
            (":sum_minor:", ":amount_minor:", "(2 * :sum_minor:)", "(:sum_minor: / 3)", "abs(:sum_minor:)")
        )

    def money(self, depth: int) -> str:
        if depth >= _DEPTH or self._random.random() < 0.6:
            return self._random.choice((f":{self._random.choice(_MONEY_FIELDS)}:", self._random.choice(_MONIES)))
        one, other = self.money(depth + 1), self.money(depth + 1)
        choices = [f"({one} + {other})", f"({one} - {other})", f"({one} / 3)", f"(0.1 * {one})", f"-({one})", f"abs({one})"]
        choices += [
            f"min({one}, {other})",
            f"coalesce({one}, {other})",
            f"bucket({one}, {other})",
            f"({one} + {self._minor(depth)})",
        ]
        return self._random.choice(choices)

    def text(self, depth: int) -> str:
        if depth >= _DEPTH or self._random.random() < 0.75:
            return self._random.choice((f":{self._random.choice(_TEXT_FIELDS)}:", self._quoted()))
        inner = self.text(depth + 1)
        return self._random.choice((f"lower({inner})", f"domain({inner})", f"coalesce({inner}, {self.text(depth + 1)})"))

    def _quoted(self) -> str:
        text = self._random.choice(TEXTS).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
