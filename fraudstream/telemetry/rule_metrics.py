"""
What the deciding groups tell of their rules, and of the lists that those look into.
"""

from collections.abc import Iterable, Mapping

from fraudstream.telemetry.declaring import Declarer


class RuleMetrics:
    """
    Hits, takeovers, and what is in force.
    """

    def __init__(self, new: Declarer) -> None:
        self._declare_rules(new)
        self._declare_lists(new)

    def _declare_rules(self, new: Declarer) -> None:
        self.rule_hits_total = new.counter(
            "rule_hits_total",
            "Times that a rule fired; worry when one fires far more than its backtest said.",
            ("rule_id", "action"),
        )
        self.rule_errors_total = new.counter(
            "rule_errors_total", "Rows on which a rule could not be evaluated and was passed over; worry above 0.", ("rule_id",)
        )
        self.rule_trips_total = new.counter(
            "rule_trips_total", "Times that a rule was put in shadow for firing above its guard; look at once.", ("rule_id",)
        )
        self.ruleset_applies_total = new.counter("ruleset_applies_total", "Times that a rule set was taken over.")
        self.ruleset_apply_failures_total = new.counter(
            "ruleset_apply_failures_total",
            "Times that the active rule set could not be taken over and the old one stayed in force; worry above 0.",
        )
        self.rule_overrides_total = new.counter(
            "rule_overrides_total",
            "Times that an allow rule let through what another rule blocks; look at who wrote it.",
            ("rule_id",),
        )
        self.ruleset_last_reload_successful = new.gauge(
            "ruleset_last_reload_successful", "1 when the last rule set that was looked at was taken over; worry at 0."
        )
        self.ruleset_last_reload_successful.set(1)
        self.ruleset_last_reload_success_timestamp_seconds = new.gauge(
            "ruleset_last_reload_success_timestamp_seconds", "When a rule set was last taken over; changes mark a dashboard."
        )
        self.ruleset_info = new.gauge(
            "ruleset_info", "1, with the first 12 hex digits of the active rule set; worry when workers differ.", ("version",)
        )

    def _declare_lists(self, new: Declarer) -> None:
        self.list_info = new.gauge(
            "list_info",
            "1, with the version of a list that the rules look into; worry when workers differ.",
            ("list", "version"),
        )
        self.list_entries = new.gauge("list_entries", "Entries of a list that the rules look into.", ("list",))
        self.list_hits_total = new.counter(
            "list_hits_total",
            "Times that an entry of a list took part in a hit of a rule; worry when one falls to 0.",
            ("list",),
        )
        self.list_apply_failures_total = new.counter(
            "list_apply_failures_total",
            "Times that a list in force could not be taken over and the old one stayed; worry above 0.",
        )
        self.rules_behind_seconds = new.gauge(
            "rules_behind_seconds",
            "For how long this worker has judged by other rules or lists than are in force, 0 when in step; worry above 30.",
        )

    def know_rules(self, version: str, rules: Iterable[tuple[str, str]]) -> None:
        """
        Start the series of a rule set: each rule id with its action; only this version is shown as active from now on.
        """
        self.ruleset_info.clear()
        self.ruleset_info.labels(version[:12]).set(1)
        for rule_id, action in rules:
            self.rule_hits_total.labels(rule_id, action)
            self.rule_errors_total.labels(rule_id)
            if action == "allow":
                self.rule_overrides_total.labels(rule_id)
        self.ruleset_last_reload_successful.set(1)
        self.ruleset_last_reload_success_timestamp_seconds.set_to_current_time()

    def know_lists(self, versions: Mapping[str, str], entries: Mapping[str, int]) -> None:
        """
        Show the versions of the lists that the rules look into, and how many entries each has; older ones are taken off.
        """
        self.list_info.clear()
        self.list_entries.clear()
        for name, version in versions.items():
            self.list_info.labels(name, version).set(1)
            if name in entries:
                self.list_entries.labels(name).set(entries[name])
