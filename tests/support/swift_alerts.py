"""
Channels that wait for siblings a tenth of a second, so that tests do not wait for them longer.
"""

from collections.abc import Mapping

import msgspec

from fraudstream.domain.alert import Severity
from fraudstream.stages.alert_policy import POLICIES, ChannelPolicy


def swift(policy: ChannelPolicy, *, wait_s: float = 0.15, gap_s: float = 0.2) -> ChannelPolicy:
    """
    Return a policy with short waits and retries; everything else stays.
    """
    return msgspec.structs.replace(
        policy,
        first_wait_s=dict.fromkeys(Severity, wait_s),
        gap_s=dict.fromkeys(Severity, gap_s),
        storm_first_s=wait_s,
        storm_gap_s=gap_s,
        first_retry_s=0.05,
        longest_retry_s=0.2,
    )


#: The channels as they are, with short waits.
SWIFT: Mapping[str, ChannelPolicy] = {name: swift(policy) for name, policy in POLICIES.items()}
