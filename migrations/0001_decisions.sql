-- Decisions: one row each, in one of two tables, because they live differently.
--
-- Uniqueness stands in transaction_ledger alone: a table that is partitioned by time cannot have a unique index on the transaction
-- id, so a row reaches the two tables only in the transaction that put its id into the ledger.

CREATE TABLE transaction_ledger (
    transaction_id text PRIMARY KEY,
    outcome text NOT NULL,
    decided_at timestamptz NOT NULL
);
COMMENT ON TABLE transaction_ledger IS 'Every transaction id that has a decision, and when to look for it';

CREATE TABLE fraud_transactions (
    transaction_id text NOT NULL,
    -- the payment, as normalised; amounts in minor units of the currency
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    occurred_at timestamptz NOT NULL,
    user_id text,
    card_id text,
    merchant text,
    merchant_category text,
    device_id text,
    ip text,
    email text,
    country text,
    latitude double precision,
    longitude double precision,
    channel text,
    type text,
    counterparty_id text,
    balance_before_minor bigint,
    balance_after_minor bigint,
    counterparty_balance_before_minor bigint,
    counterparty_balance_after_minor bigint,
    metadata jsonb,
    -- the decision
    schema text NOT NULL,
    outcome text NOT NULL,
    score double precision NOT NULL,
    probability double precision,
    points double precision NOT NULL,
    reasons jsonb,
    rule_hits jsonb,
    degraded text[] NOT NULL,
    -- what it was made from, so that it can be made again
    feature_set text NOT NULL,
    vector bytea NOT NULL,
    rule_set text NOT NULL,
    lists jsonb,
    model text NOT NULL,
    received_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL
);
COMMENT ON TABLE fraud_transactions IS 'Flagged decisions (challenge, review, block) with their full evidence; kept for years';
COMMENT ON COLUMN fraud_transactions.vector IS 'Features in the order of feature_set, float32 little endian; empty when they could not be computed';
COMMENT ON COLUMN fraud_transactions.reasons IS 'List of {code, text, value, contribution}; NULL when empty';
COMMENT ON COLUMN fraud_transactions.rule_hits IS 'List of {rule_id, action, reason, points, priority, explanation, tags}; NULL when empty';
COMMENT ON COLUMN fraud_transactions.degraded IS 'Why a group had no opinion; empty in a whole decision';

-- The same columns in the same order. NULL for an empty list costs one bit: an approved row without hits is as lean as its payment.
CREATE TABLE approved_transactions (LIKE fraud_transactions INCLUDING COMMENTS);
COMMENT ON TABLE approved_transactions IS 'Approved decisions: many, lean, compressed after a day where TimescaleDB is present';

ALTER TABLE fraud_transactions ADD CONSTRAINT fraud_transactions_outcome CHECK (outcome IN ('challenge', 'review', 'block'));
ALTER TABLE approved_transactions ADD CONSTRAINT approved_transactions_outcome CHECK (outcome = 'approve');

-- Time ranges over the whole table come cheap; an id is found through the ledger and its decided_at.
CREATE INDEX approved_transactions_decided_at ON approved_transactions USING brin (decided_at);
CREATE INDEX approved_transactions_occurred_at ON approved_transactions USING brin (occurred_at);
CREATE INDEX approved_transactions_transaction_id ON approved_transactions (transaction_id);

CREATE INDEX fraud_transactions_decided_at ON fraud_transactions (decided_at DESC);
CREATE INDEX fraud_transactions_occurred_at ON fraud_transactions (occurred_at DESC);
CREATE INDEX fraud_transactions_transaction_id ON fraud_transactions (transaction_id);
CREATE INDEX fraud_transactions_user_id ON fraud_transactions (user_id, decided_at DESC) WHERE user_id IS NOT NULL;
CREATE INDEX fraud_transactions_card_id ON fraud_transactions (card_id, decided_at DESC) WHERE card_id IS NOT NULL;
CREATE INDEX fraud_transactions_device_id ON fraud_transactions (device_id, decided_at DESC) WHERE device_id IS NOT NULL;
CREATE INDEX fraud_transactions_merchant ON fraud_transactions (merchant, decided_at DESC) WHERE merchant IS NOT NULL;
CREATE INDEX fraud_transactions_ip ON fraud_transactions (ip, decided_at DESC) WHERE ip IS NOT NULL;
CREATE INDEX fraud_transactions_rule_hits ON fraud_transactions USING gin (rule_hits jsonb_path_ops);

CREATE VIEW decisions AS
    SELECT * FROM approved_transactions
    UNION ALL
    SELECT * FROM fraud_transactions;
COMMENT ON VIEW decisions IS 'Every decision; shadow hits stand in rule_shadow_hits';

-- Shadow rules have no say: what they would have done is kept apart from every decision.
CREATE TABLE rule_shadow_hits (
    transaction_id text NOT NULL,
    rule_id text NOT NULL,
    rule_set text NOT NULL,
    hit jsonb NOT NULL,
    decided_at timestamptz NOT NULL
);
COMMENT ON TABLE rule_shadow_hits IS 'Hits of rules in shadow; hit as in rule_hits';
CREATE INDEX rule_shadow_hits_rule_id ON rule_shadow_hits (rule_id, decided_at DESC);
CREATE INDEX rule_shadow_hits_transaction_id ON rule_shadow_hits (transaction_id);

CREATE TABLE superseding_decisions (
    LIKE fraud_transactions INCLUDING COMMENTS,
    superseding_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    superseded_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    cause text NOT NULL
);
COMMENT ON TABLE superseding_decisions IS 'Decisions made again from the kept vector, beside the first one and never over it';
CREATE INDEX superseding_decisions_transaction_id ON superseding_decisions (transaction_id, superseded_at);
