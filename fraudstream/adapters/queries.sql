-- Every statement that we send to PostgreSQL, by name; {columns} stands for the columns of a decision's row.

-- name: make_incoming
-- Makes the place where COPY puts a batch of decisions, once per connection; a commit empties it.
CREATE TEMP TABLE IF NOT EXISTS incoming_decisions (LIKE fraud_transactions, shadow_hits jsonb) ON COMMIT DELETE ROWS

-- name: record_incoming
-- Moves what the ledger did not know to where it belongs, and returns the ids that were new.
WITH fresh AS (
    INSERT INTO transaction_ledger (transaction_id, outcome, decided_at)
    SELECT transaction_id, outcome, decided_at FROM incoming_decisions
    ON CONFLICT (transaction_id) DO NOTHING
    RETURNING transaction_id
), approved AS (
    INSERT INTO approved_transactions ({columns})
    SELECT {columns} FROM incoming_decisions JOIN fresh USING (transaction_id) WHERE outcome = 'approve'
), flagged AS (
    INSERT INTO fraud_transactions ({columns})
    SELECT {columns} FROM incoming_decisions JOIN fresh USING (transaction_id) WHERE outcome <> 'approve'
), shadow AS (
    INSERT INTO rule_shadow_hits (transaction_id, rule_id, rule_set, hit, decided_at)
    SELECT transaction_id, hit ->> 'rule_id', rule_set, hit, decided_at
    FROM incoming_decisions JOIN fresh USING (transaction_id), jsonb_array_elements(shadow_hits) AS hit
)
SELECT transaction_id FROM fresh

-- name: record_labels
-- Stores labels, and returns the label ids that were new.
INSERT INTO labels (label_id, transaction_id, label, source, labelled_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
ON CONFLICT (label_id) DO NOTHING
RETURNING label_id

-- name: find_decision
-- Returns the row of one transaction; its time, from the ledger, says in which chunk to look.
SELECT {columns} FROM decisions
WHERE transaction_id = $1 AND decided_at = (SELECT decided_at FROM transaction_ledger WHERE transaction_id = $1)

-- name: find_shadow_hits
-- Returns what rules in shadow would have done to one transaction.
SELECT hit FROM rule_shadow_hits WHERE transaction_id = $1
