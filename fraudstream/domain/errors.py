"""
Every error, named by what becomes of the delivery that met it.

::

    FraudstreamError
    ├── ConfigurationError        stop before reading anything
    │   ├── InvalidSettings
    │   ├── InvalidFeatures
    │   ├── InvalidRule
    │   ├── IncompatibleModel
    │   ├── InvalidSource
    │   ├── DamagedArchive
    │   └── UnsuitableServer
    ├── RuleSetRefused            the rules in force stay; a person looks again
    ├── ModelRefused              the models in use stay; a person looks again
    ├── NotAllowed                this person may not see it; the audit log says who asked
    ├── InvalidTransaction        dead-letter, acknowledge; never retried
    ├── InvalidLabel              dead-letter, acknowledge; never retried
    ├── TransientError            leave pending, back off, try again
    │   ├── StreamUnavailable
    │   ├── EntityStoreUnavailable
    │   ├── DecisionStoreUnavailable
    │   └── AdmissionRefused      a producer waits or gives the work back
    └── AlertFailed               transient: due again later; permanent: alerts:undeliverable
"""

from collections.abc import Sequence


class FraudstreamError(Exception):
    """
    Root of everything that this package raises on purpose.
    """


class ConfigurationError(FraudstreamError):
    """
    The process must not start; the text names every problem found and what to do about it.
    """


class InvalidSettings(ConfigurationError):
    """
    A setting is missing, unknown or out of range.
    """


class InvalidFeatures(ConfigurationError):
    """
    A feature file cannot be used; the text shows line, caret and remedy for each problem.
    """


class InvalidRule(ConfigurationError):
    """
    A rule file or list cannot be used; the text shows line, caret and remedy for each problem.

    Args:
        text: What people read.
        places: For tools, each problem as line, column (both from 1), message and hint.
    """

    def __init__(self, text: str, places: Sequence[tuple[int, int, str, str]] = ()) -> None:
        super().__init__(text)
        self.places = tuple(places)


class RuleSetRefused(FraudstreamError):
    """
    A change of the rules in force must not be made, or somebody else was faster; nothing is changed.
    """


class ModelRefused(FraudstreamError):
    """
    A change of the models in use must not be made, or somebody else was faster; nothing is changed.
    """


class NotAllowed(FraudstreamError):
    """
    Somebody asked for what only named people may see; nothing was shown, and the audit log has a line.
    """


class IncompatibleModel(ConfigurationError):
    """
    The model folder is damaged, or does not fit the declared features.
    """


class InvalidSource(ConfigurationError):
    """
    What should be produced cannot be read: the file, its columns or its mapping.
    """


class DamagedArchive(ConfigurationError):
    """
    A backup is cut short, changed since it was made, or of another version; the text names the member. Nothing was restored.
    """


class UnsuitableServer(ConfigurationError):
    """
    A server could lose our data as it is configured (version, eviction, persistence).
    """


class InvalidTransaction(FraudstreamError):
    """
    The bytes of one delivery are not a transaction.

    Args:
        reason: The dead letter's reason, one of ``decode_error``, ``schema_invalid``, ``card_number``, ``too_large``.
        detail: What was wrong and where, free of personal data.
        transaction_id: The id, where it could still be read.
    """

    def __init__(self, reason: str, detail: str, transaction_id: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.transaction_id = transaction_id


class InvalidLabel(FraudstreamError):
    """
    The bytes of one delivery are not a label.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TransientError(FraudstreamError):
    """
    Something at a distance is away for now; whatever was in hand stays pending.
    """


class StreamUnavailable(TransientError):
    """
    Redis did not answer a stream command, or not in time.
    """


class EntityStoreUnavailable(TransientError):
    """
    Redis did not answer a read or move of entity states.
    """


class DecisionStoreUnavailable(TransientError):
    """
    PostgreSQL did not answer, or ended the transaction for reasons of its own.
    """


class AdmissionRefused(TransientError):
    """
    The intake is full: the producer must wait and offer the transactions again.
    """


class AlertFailed(FraudstreamError):
    """
    A channel did not take an alert.

    Args:
        channel: Name of the channel.
        detail: What it answered.
        permanent: True when trying again cannot help.
        retry_after_s: Seconds that the channel asked us to wait; None when it did not say.
    """

    def __init__(self, channel: str, detail: str, *, permanent: bool, retry_after_s: float | None = None) -> None:
        super().__init__(f"{channel}: {detail}")
        self.channel = channel
        self.detail = detail
        self.permanent = permanent
        self.retry_after_s = retry_after_s
