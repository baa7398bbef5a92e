-- Every statement that we send to PostgreSQL, by name; {columns} stands for the columns of a decision's row.

-- name: enter_ledger
-- Puts ids into the ledger, and returns those that were there already: nearly always none. Only rows of the others are written.
WITH fresh AS (
    INSERT INTO transaction_ledger (transaction_id, outcome, decided_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])
    ON CONFLICT (transaction_id) DO NOTHING
    RETURNING transaction_id
)
SELECT id AS transaction_id FROM unnest($1::text[]) AS id
WHERE (SELECT count(*) FROM fresh) < cardinality($1::text[]) AND id NOT IN (SELECT transaction_id FROM fresh)

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
