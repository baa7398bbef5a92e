"""
What each kind of attack is asked to be, every number with its unit; the defaults are the attackers that the model trains on.
"""

import msgspec


class CardTesting(msgspec.Struct, frozen=True, kw_only=True):
    """
    A thief tries a list of stolen cards with small payments, and later spends on some of those that worked.

    ``cards`` and ``tries_per_card`` are means; ``spacing_s`` is the median pause between two tries in seconds, spread over
    attacks by ``pace_sigma`` (of its logarithm); ``amount`` is the median try in US dollars; ``devices`` and ``merchants`` are
    means per attack; ``spent_share`` is the part of cards that is spent on, ``spend_factor`` times the price of the shop,
    ``spend_delay_h`` hours later in the mean.
    """

    cards: float = 8.0
    tries_per_card: float = 1.7
    spacing_s: float = 70.0
    pace_sigma: float = 1.0
    amount: float = 4.0
    amount_sigma: float = 0.9
    devices: float = 2.5
    merchants: float = 2.0
    spent_share: float = 0.35
    spend_factor: float = 1.3
    spend_delay_h: float = 16.0


class AccountTakeover(msgspec.Struct, frozen=True, kw_only=True):
    """
    A thief signs in as a customer and buys what sells.

    ``purchases`` is a mean; ``spacing_min`` the median pause in minutes, spread over attacks by ``pace_sigma``;
    ``amount_factor`` multiplies the price that the victim would pay there. ``new_device_share`` of attacks come from a device
    that the account never saw (the rest by malware on its own), ``foreign_share`` from another country, ``night_share`` between
    0 and 6 local.
    """

    purchases: float = 3.0
    spacing_min: float = 20.0
    pace_sigma: float = 1.1
    amount_factor: float = 1.9
    new_device_share: float = 0.8
    foreign_share: float = 0.4
    night_share: float = 0.35


class MerchantCompromise(msgspec.Struct, frozen=True, kw_only=True):
    """
    Cards that paid at one merchant are copied and used by others, there and elsewhere.

    ``cards`` and ``uses_per_card`` are means per merchant; uses fall within ``window_d`` days after the theft begins,
    ``same_share`` of them at the merchant itself; ``amount_factor`` multiplies the price of the shop.
    """

    cards: float = 12.0
    uses_per_card: float = 1.7
    window_d: float = 3.0
    same_share: float = 0.4
    amount_factor: float = 1.6


class Mule(msgspec.Struct, frozen=True, kw_only=True):
    """
    Deceived people send money to an account that passes it on.

    ``senders`` is a mean; each sends a median of ``amount`` US dollars from a device of their own within ``window_h`` hours;
    the account sends on or withdraws ``passed_on`` of it in ``pieces`` (mean), the first after about ``delay_min`` minutes.
    """

    senders: float = 7.0
    amount: float = 260.0
    amount_sigma: float = 0.9
    window_h: float = 8.0
    passed_on: float = 0.9
    pieces: float = 2.5
    delay_min: float = 60.0


class ImpossibleTravel(msgspec.Struct, frozen=True, kw_only=True):
    """
    A copied card pays in a shop far from where its owner just paid.

    ``uses`` is a mean; the first comes a median of ``delay_min`` minutes after the owner's payment, at least ``distance_km``
    away; ``spacing_min`` is the median pause in minutes; ``amount_factor`` multiplies the price of the shop.
    """

    uses: float = 2.0
    delay_min: float = 75.0
    spacing_min: float = 30.0
    distance_km: float = 1000.0
    amount_factor: float = 1.4


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """
    One payment that looks almost like its owner's.

    ``amount_factor`` multiplies the usual price; ``own_device_share`` come from the owner's device and address (denied later),
    the rest from one that nobody saw.
    """

    amount_factor: float = 1.25
    own_device_share: float = 0.5
