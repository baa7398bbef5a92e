-- What people were told: the groups that alerts came in, every message, and what was answered.

CREATE TABLE alert_groups (
    alert_id text PRIMARY KEY,
    digest boolean NOT NULL,
    family text NOT NULL,
    rule_id text NOT NULL,
    entity text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    title text NOT NULL,
    transactions integer NOT NULL,
    amounts jsonb NOT NULL,
    opened_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    answer text NOT NULL DEFAULT '',
    answered_by text NOT NULL DEFAULT '',
    acknowledged_by text NOT NULL DEFAULT ''
);
COMMENT ON TABLE alert_groups IS 'Flagged transactions that were told of together, and digests of many such groups; texts masked';
COMMENT ON COLUMN alert_groups.amounts IS 'Minor units by currency';
COMMENT ON COLUMN alert_groups.entity IS 'What the transactions have in common: card, user, device, merchant, ip, payment; a digest: empty';
CREATE INDEX alert_groups_last_at ON alert_groups (last_at DESC);

-- One row per line of the journal in Redis: its id is what makes copying it twice harmless.
CREATE TABLE alert_events (
    event_id text PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('delivery', 'digest', 'folded', 'muted', 'answer', 'acknowledge', 'snooze', 'resend', 'discard')),
    alert_id text NOT NULL,
    channel text NOT NULL,
    outcome text NOT NULL,
    action text NOT NULL,
    recipient text NOT NULL,
    transactions integer NOT NULL,
    attempts integer NOT NULL,
    actor text NOT NULL,
    detail text NOT NULL
);
COMMENT ON TABLE alert_events IS 'Every message that was delivered or not: when, where, to whom; and what people answered';
CREATE INDEX alert_events_alert_id ON alert_events (alert_id, at);
CREATE INDEX alert_events_at ON alert_events (at DESC);

ALTER TABLE alerts DROP CONSTRAINT alerts_outcome_check;
ALTER TABLE alerts ADD CONSTRAINT alerts_outcome_check
    CHECK (outcome IN ('delivered', 'deduplicated', 'digested', 'undeliverable', 'snoozed'));
COMMENT ON COLUMN alerts.alert_id IS 'The alert group that the transaction is in: one and only one';
COMMENT ON COLUMN alerts.outcome IS 'delivered by the first message of its group, deduplicated by a later one, digested in a digest, snoozed: nobody was told';
