-- What people learn, are told, and do.

CREATE TABLE labels (
    label_id text PRIMARY KEY,
    transaction_id text NOT NULL,
    label text NOT NULL CHECK (label IN ('fraud', 'legitimate', 'unsure')),
    source text NOT NULL,
    labelled_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE labels IS 'Ground truth learned later; of several labels of one transaction the one labelled last counts';
CREATE INDEX labels_transaction_id ON labels (transaction_id, labelled_at DESC);
CREATE INDEX labels_labelled_at ON labels (labelled_at);

CREATE TABLE alerts (
    alert_id text NOT NULL,
    transaction_id text NOT NULL,
    channel text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('delivered', 'deduplicated', 'digested', 'undeliverable')),
    severity text NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    attempts integer NOT NULL DEFAULT 1,
    detail text,
    settled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction_id, channel)
);
COMMENT ON TABLE alerts IS 'What became of the alert of a flagged transaction on each channel';
CREATE INDEX alerts_settled_at ON alerts (settled_at DESC);
CREATE INDEX alerts_alert_id ON alerts (alert_id);

CREATE TABLE dead_letters (
    stream text NOT NULL,
    entry_id text NOT NULL,
    part text NOT NULL DEFAULT '',
    transaction_id text,
    consumer_group text NOT NULL,
    owner text,
    reason text NOT NULL,
    error text NOT NULL,
    attempts integer NOT NULL,
    fields jsonb NOT NULL,
    dead_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'replayed', 'discarded')),
    closed_at timestamptz,
    PRIMARY KEY (stream, entry_id, part)
);
COMMENT ON TABLE dead_letters IS 'Letters of transactions:dlq that somebody archived or closed; personal data masked';
CREATE INDEX dead_letters_dead_at ON dead_letters (dead_at DESC);
CREATE INDEX dead_letters_transaction_id ON dead_letters (transaction_id) WHERE transaction_id IS NOT NULL;

CREATE TABLE rule_snoozes (
    snooze_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id text NOT NULL,
    entity text,
    entity_id text,
    actor text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CHECK (expires_at > created_at),
    CHECK ((entity IS NULL) = (entity_id IS NULL))
);
COMMENT ON TABLE rule_snoozes IS 'A rule held quiet for a time: for one entity, or for all where entity is NULL; it always ends by itself';
CREATE INDEX rule_snoozes_rule_id ON rule_snoozes (rule_id, expires_at);

CREATE TABLE audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('success', 'failure')),
    origin text NOT NULL,
    resource text NOT NULL,
    detail jsonb
);
COMMENT ON TABLE audit_log IS 'Who did what, when, from where, to what (PCI DSS 10.2.2); rows are only ever added';
CREATE INDEX audit_log_at ON audit_log (at DESC);
CREATE INDEX audit_log_resource ON audit_log (resource, at DESC);

-- Only added: whoever writes a row, even its owner, is refused a change of it.
CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();
