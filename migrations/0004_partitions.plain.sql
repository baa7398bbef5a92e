-- Where TimescaleDB is absent: partitions by the time of decision, a day each (flagged decisions a week), so that old ones go in an
-- instant and space is left for years. `fraudstream db maintain` makes them ahead and drops what is too old; a row that comes
-- before its partition waits in the default one.
--
-- Beside a running fleet: rows are not copied, the table of before becomes the first partition. While it is looked through
-- (about a second per million rows) recorders wait, and decisions go on. A reader in the way is waited for, but not for long.
SET LOCAL lock_timeout = '5s';
LOCK TABLE approved_transactions, fraud_transactions, rule_shadow_hits IN ACCESS EXCLUSIVE MODE;

-- Within a day order is what helps: a range over days comes from the partitions.
DROP INDEX approved_transactions_decided_at;
CREATE INDEX approved_transactions_decided_at ON approved_transactions (decided_at DESC);
CREATE INDEX rule_shadow_hits_decided_at ON rule_shadow_hits (decided_at DESC);

DO $$
DECLARE
    kept record;
    index record;
    before text;
BEGIN
    FOR kept IN VALUES ('approved_transactions'), ('fraud_transactions'), ('rule_shadow_hits') LOOP
        before := kept.column1 || '_before';
        EXECUTE format('ALTER TABLE %I RENAME TO %I', kept.column1, before);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING COMMENTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (decided_at)',
            kept.column1, before);
        EXECUTE format('COMMENT ON TABLE %I IS %L', kept.column1, obj_description(before::regclass));
        FOR index IN SELECT indexrelid::regclass::text AS name FROM pg_index WHERE indrelid = before::regclass LOOP
            EXECUTE format('ALTER INDEX %I RENAME TO %I', index.name, index.name || '_before');
            EXECUTE replace(pg_get_indexdef((index.name || '_before')::regclass), '_before', '');
        END LOOP;
        EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', kept.column1 || '_default', kept.column1);
    END LOOP;
END
$$;

CREATE OR REPLACE VIEW decisions AS
    SELECT * FROM approved_transactions
    UNION ALL
    SELECT * FROM fraud_transactions;

DO $$
DECLARE
    kept record;
    newest timestamptz;
    till timestamptz;
BEGIN
    FOR kept IN SELECT * FROM (VALUES
        ('approved_transactions', interval '1 day'),
        ('fraud_transactions', interval '7 days'),
        ('rule_shadow_hits', interval '1 day')) AS tables (name, width)
    LOOP
        EXECUTE format('SELECT max(decided_at) FROM %I', kept.name || '_before') INTO newest;
        IF newest IS NULL THEN
            EXECUTE format('DROP TABLE %I', kept.name || '_before');
        ELSE
            till := date_bin(kept.width, greatest(newest, now()), timestamptz '2001-01-01 00:00:00+00') + kept.width;
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)',
                kept.name, kept.name || '_before', till);
        END IF;
    END LOOP;
END
$$;
