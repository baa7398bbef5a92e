-- Every statement that we send to PostgreSQL, by name; {columns} stands for the columns of a decision's row.

-- name: enter_ledger
-- Puts ids into the ledger, and returns those that were there already: nearly always none. Only rows of the others are written. Ids
-- (no control character is in one), outcomes and times (microseconds since 2000, exact as an interval) come as a text each.
WITH fresh AS (
    INSERT INTO transaction_ledger (transaction_id, outcome, decided_at)
    SELECT id, outcome, timestamptz '2000-01-01 00:00:00+00' + decided_us * interval '1 microsecond'
    FROM unnest(string_to_array($1, E'\n'), string_to_array($2, ' '), string_to_array($3, ' ')::bigint[])
        AS new (id, outcome, decided_us)
    ON CONFLICT (transaction_id) DO NOTHING
    RETURNING transaction_id
)
SELECT id AS transaction_id FROM unnest(string_to_array($1, E'\n')) AS id
WHERE (SELECT count(*) FROM fresh) < $4::integer AND id NOT IN (SELECT transaction_id FROM fresh)

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
