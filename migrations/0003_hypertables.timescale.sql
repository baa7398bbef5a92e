-- Where TimescaleDB is present: chunks of a day by the time of decision, so that a replay of old payments is neither dropped nor
-- written into compressed chunks. Compression and retention need the community licence; under the other one the chunks remain.

SELECT create_hypertable('approved_transactions', 'decided_at', chunk_time_interval => interval '1 day',
    create_default_indexes => false, migrate_data => true, if_not_exists => true);
SELECT create_hypertable('fraud_transactions', 'decided_at', chunk_time_interval => interval '7 days',
    create_default_indexes => false, migrate_data => true, if_not_exists => true);
SELECT create_hypertable('rule_shadow_hits', 'decided_at', chunk_time_interval => interval '1 day',
    create_default_indexes => false, migrate_data => true, if_not_exists => true);

-- The planner prunes chunks by time, so that order is what helps inside one.
DROP INDEX approved_transactions_decided_at;
CREATE INDEX approved_transactions_decided_at ON approved_transactions (decided_at DESC);

DO $$
BEGIN
    IF current_setting('timescaledb.license', true) = 'timescale' THEN
        ALTER TABLE approved_transactions SET (
            timescaledb.compress, timescaledb.compress_orderby = 'decided_at DESC', timescaledb.compress_segmentby = '');
        PERFORM add_compression_policy('approved_transactions', compress_after => interval '1 day', if_not_exists => true);
        PERFORM add_retention_policy('approved_transactions', drop_after => interval '400 days', if_not_exists => true);
        ALTER TABLE fraud_transactions SET (
            timescaledb.compress, timescaledb.compress_orderby = 'decided_at DESC', timescaledb.compress_segmentby = '');
        PERFORM add_compression_policy('fraud_transactions', compress_after => interval '90 days', if_not_exists => true);
        PERFORM add_retention_policy('fraud_transactions', drop_after => interval '7 years', if_not_exists => true);
        PERFORM add_retention_policy('rule_shadow_hits', drop_after => interval '90 days', if_not_exists => true);
    END IF;
END
$$;
