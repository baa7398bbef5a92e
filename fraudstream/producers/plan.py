"""
What a synthetic world is asked to be: its size, its span, how much of each attack. Every number has a unit and a meaning.
"""

import math
from enum import StrEnum

import msgspec

from fraudstream.domain.errors import InvalidSettings
from fraudstream.producers.attack_plans import AccountTakeover, CardTesting, ImpossibleTravel, MerchantCompromise, Mule, Quiet

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
#: 2025-01-06 00:00:00 UTC, a Monday: where training worlds begin, so that a model can be built again to the same bytes.
TRAINING_START_MS = 1_736_121_600_000


class Scenario(StrEnum):
    """
    What a synthetic transaction is part of: ordinary life, ordinary life that looks like fraud, or an attack.
    """

    ORDINARY = "ordinary"
    TRAVEL = "travel"
    HOLIDAY_SHOPPING = "holiday-shopping"
    NEW_DEVICE = "new-device"
    LARGE_PURCHASE = "large-purchase"
    MICRO_PAYMENTS = "micro-payments"
    SHARED_DEVICE = "shared-device"
    FOREIGN_ADDRESS = "foreign-address"
    COLLECTION = "collection"
    CARD_TESTING = "card-testing"
    ACCOUNT_TAKEOVER = "account-takeover"
    MERCHANT_COMPROMISE = "merchant-compromise"
    MULE = "mule"
    IMPOSSIBLE_TRAVEL = "impossible-travel"
    QUIET = "quiet"


#: The scenarios that are fraud.
ATTACKS: tuple[Scenario, ...] = (
    Scenario.CARD_TESTING,
    Scenario.ACCOUNT_TAKEOVER,
    Scenario.MERCHANT_COMPROMISE,
    Scenario.MULE,
    Scenario.IMPOSSIBLE_TRAVEL,
    Scenario.QUIET,
)


class SyntheticPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    One synthetic world, whole: the same plan gives the same bytes.

    ``start_ms`` and ``end_ms`` bound event time (milliseconds since 1970 UTC, end exclusive). ``transactions`` is the exact
    number of transactions, ``fraud_rate`` the part of them in attacks, ``mix`` the relative part of each attack scenario in
    that. ``users`` and ``merchants`` follow from the size when 0. ``lookalike_share`` is the part of transactions that are
    honest and look like fraud. ``big_merchant_share`` of ordinary payments go to one merchant (0: popularity alone decides).
    ``local_currencies`` prices by country, else all is USD. ``missed_share`` of frauds carry the label legitimate (nobody
    noticed) and ``false_report_rate`` of honest transactions the label fraud; ``scenario`` keeps the truth.
    """

    seed: int
    start_ms: int
    end_ms: int
    transactions: int = 50_000
    fraud_rate: float = 0.01
    mix: dict[str, float] = msgspec.field(
        default_factory=lambda: {
            "card-testing": 0.2,
            "account-takeover": 0.2,
            "merchant-compromise": 0.17,
            "mule": 0.14,
            "impossible-travel": 0.14,
            "quiet": 0.15,
        }
    )
    users: int = 0
    merchants: int = 0
    lookalike_share: float = 0.07
    big_merchant_share: float = 0.0
    local_currencies: bool = False
    missed_share: float = 0.0
    false_report_rate: float = 0.0
    card_testing: CardTesting = CardTesting()
    account_takeover: AccountTakeover = AccountTakeover()
    merchant_compromise: MerchantCompromise = MerchantCompromise()
    mule: Mule = Mule()
    impossible_travel: ImpossibleTravel = ImpossibleTravel()
    quiet: Quiet = Quiet()

    def __post_init__(self) -> None:
        """
        Refuse a plan that no world can follow.

        Raises:
            InvalidSettings: Naming every problem.
        """
        if problems := [*_problems(self)]:
            raise InvalidSettings("the synthetic plan cannot be followed: " + "; ".join(problems))

    @property
    def days(self) -> float:
        """
        Length of the span in days.
        """
        return (self.end_ms - self.start_ms) / DAY_MS

    @property
    def user_count(self) -> int:
        """
        How many people live here; by default each pays about 1.6 times a day.
        """
        return self.users or max(60, round(self.transactions / (1.6 * max(self.days, 1.0))))

    @property
    def merchant_count(self) -> int:
        """
        How many merchants there are; by default one for three people.
        """
        return self.merchants or max(220, self.user_count // 3)


def _problems(plan: SyntheticPlan) -> list[str]:
    found = []
    if not 0 <= plan.seed < 2**32:
        found.append("seed must be from 0 to 2^32 - 1")
    if plan.start_ms < 0 or plan.end_ms - plan.start_ms < HOUR_MS:
        found.append("end_ms must be at least one hour after start_ms, and start_ms not before 1970")
    if plan.transactions < 1:
        found.append("transactions must be at least 1")
    if plan.users and plan.users < 20:
        found.append("users must be 0 (derived) or at least 20")
    if plan.merchants and plan.merchants < 60:
        found.append("merchants must be 0 (derived) or at least 60")
    shares = ("fraud_rate", "lookalike_share", "big_merchant_share", "missed_share", "false_report_rate")
    found += [f"{name} must be from 0 to 0.5" for name in shares if not 0 <= getattr(plan, name) <= 0.5]
    unknown = sorted(set(plan.mix) - {*map(str, ATTACKS)})
    if unknown:
        found.append(f"mix names {', '.join(unknown)}; attacks are {', '.join(ATTACKS)}")
    elif any(not weight >= 0 for weight in plan.mix.values()) or not 0 < sum(plan.mix.values()) < math.inf:
        found.append("mix needs weights from 0 up, one of them above 0")
    return found + _attack_problems(plan)


def _attack_problems(plan: SyntheticPlan) -> list[str]:
    found = []
    for attack in ("card_testing", "account_takeover", "merchant_compromise", "mule", "impossible_travel", "quiet"):
        for name, value in msgspec.structs.asdict(getattr(plan, attack)).items():
            share = name.endswith("_share") or name == "passed_on"
            if not (0 <= value <= 1 if share else 0 < value <= 100_000):
                found.append(f"{attack}.{name} must be {'from 0 to 1' if share else 'above 0 and at most 100000'}")
    return found


def training_plan(seed: int, *, transactions: int = 60_000, days: int = 28, start_ms: int = TRAINING_START_MS) -> SyntheticPlan:
    """
    Return a world to train on; the shipped model learns from seeds 1 to 9 of it.
    """
    return SyntheticPlan(seed=seed, start_ms=start_ms, end_ms=start_ms + days * DAY_MS, transactions=transactions)


def demo_plan(seed: int = 4711, *, end_ms: int, transactions: int = 20_000, days: int = 14) -> SyntheticPlan:
    """
    Return a world to show and to judge on: another seed, and attackers who behave otherwise than those of ``training_plan``.

    They are slower, spread over more devices, take other amounts and come in another mix, so that a model meets what it was not
    trained on.
    """
    return SyntheticPlan(
        seed=seed,
        start_ms=end_ms - days * DAY_MS,
        end_ms=end_ms,
        transactions=transactions,
        fraud_rate=0.015,
        lookalike_share=0.08,
        mix={
            "card-testing": 0.22,
            "account-takeover": 0.24,
            "merchant-compromise": 0.15,
            "mule": 0.12,
            "impossible-travel": 0.12,
            "quiet": 0.15,
        },
        card_testing=CardTesting(cards=8, tries_per_card=1.6, spacing_s=110, amount=6.0, devices=3.2, spent_share=0.3),
        account_takeover=AccountTakeover(
            purchases=3.6, spacing_min=32, amount_factor=1.65, new_device_share=0.72, foreign_share=0.3
        ),
        merchant_compromise=MerchantCompromise(cards=9, uses_per_card=2.0, window_d=2.5, same_share=0.3, amount_factor=1.45),
        mule=Mule(senders=6, amount=200, window_h=11, pieces=3, delay_min=90),
        impossible_travel=ImpossibleTravel(uses=1.8, delay_min=110, spacing_min=40, amount_factor=1.3),
        quiet=Quiet(amount_factor=1.15, own_device_share=0.55),
    )
