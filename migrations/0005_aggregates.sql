-- What dashboards and digests read, by minute, hour and day of the decision (UTC): continuous aggregates on TimescaleDB, views of the
-- same names and columns without it. The last open bucket is always counted live.
--
-- approved_by_*, flagged_by_*, *_rule_hits_by_* and shadow_hits_by_* each look at one table, because a continuous aggregate does;
-- decisions_by_*, fraud_rate_by_*, scores_by_*, latency_by_* and rule_hits_by_* put them together and are what people ask.

DO $$
DECLARE
    continuous boolean := false;
    base record;
    width record;
    kind text;
    finish text;
    source text;
    bucket text;
    first text;
    summed text;
BEGIN
    -- An extension that came after the tables were partitioned changes nothing, and the Apache licence has no aggregates.
    IF to_regclass('timescaledb_information.hypertables') IS NOT NULL THEN
        EXECUTE $sql$SELECT count(*) = 3 FROM timescaledb_information.hypertables
            WHERE hypertable_name IN ('approved_transactions', 'fraud_transactions', 'rule_shadow_hits')
                AND current_setting('timescaledb.license', true) = 'timescale'$sql$ INTO continuous;
    END IF;
    IF continuous THEN
        kind := 'CREATE MATERIALIZED VIEW %I WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS ';
        finish := ' WITH NO DATA';
    ELSE
        kind := 'CREATE VIEW %I AS ';
        finish := '';
    END IF;

    FOR base IN SELECT * FROM (VALUES
        ('approved_by_', 'approved_transactions',
         $sql$outcome, currency, least(floor(score * 10), 9)::smallint AS score_band,
            count(*) AS decisions,
            sum(amount_minor)::numeric AS amount_minor,
            count(*) FILTER (WHERE cardinality(degraded) > 0) AS degraded,
            sum(extract(epoch FROM decided_at - received_at))::double precision AS latency_s,
            max(extract(epoch FROM decided_at - received_at))::double precision AS latency_max_s,
            count(*) FILTER (WHERE decided_at - received_at <= interval '10 ms') AS within_10ms,
            count(*) FILTER (WHERE decided_at - received_at <= interval '25 ms') AS within_25ms,
            count(*) FILTER (WHERE decided_at - received_at <= interval '50 ms') AS within_50ms,
            count(*) FILTER (WHERE decided_at - received_at <= interval '100 ms') AS within_100ms,
            count(*) FILTER (WHERE decided_at - received_at <= interval '250 ms') AS within_250ms,
            count(*) FILTER (WHERE decided_at - received_at <= interval '500 ms') AS within_500ms,
            count(*) FILTER (WHERE decided_at - received_at <= interval '1 s') AS within_1s,
            count(*) FILTER (WHERE decided_at - received_at <= interval '5 s') AS within_5s$sql$,
         '2, 3, 4',
         $sql$outcome, currency, score_band,
            sum(decisions)::bigint AS decisions,
            sum(amount_minor)::numeric AS amount_minor,
            sum(degraded)::bigint AS degraded,
            sum(latency_s)::double precision AS latency_s,
            max(latency_max_s)::double precision AS latency_max_s,
            sum(within_10ms)::bigint AS within_10ms,
            sum(within_25ms)::bigint AS within_25ms,
            sum(within_50ms)::bigint AS within_50ms,
            sum(within_100ms)::bigint AS within_100ms,
            sum(within_250ms)::bigint AS within_250ms,
            sum(within_500ms)::bigint AS within_500ms,
            sum(within_1s)::bigint AS within_1s,
            sum(within_5s)::bigint AS within_5s$sql$),
        ('approved_rule_hits_by_', $sql$approved_transactions, LATERAL jsonb_array_elements(rule_hits) AS hit$sql$,
         $sql$hit ->> 'rule_id' AS rule_id, hit ->> 'action' AS action, outcome, currency,
            count(*) AS hits,
            sum(amount_minor)::numeric AS amount_minor$sql$,
         '2, 3, 4, 5',
         $sql$rule_id, action, outcome, currency,
            sum(hits)::bigint AS hits,
            sum(amount_minor)::numeric AS amount_minor$sql$),
        ('shadow_hits_by_', 'rule_shadow_hits',
         $sql$rule_id, hit ->> 'action' AS action, count(*) AS hits$sql$,
         '2, 3',
         $sql$rule_id, action, sum(hits)::bigint AS hits$sql$)
    ) AS bases (name, source, first, grouped, summed)
    LOOP
        -- The flagged table has the same columns.
        FOR source, bucket IN SELECT base.source, base.name UNION ALL
            SELECT replace(base.source, 'approved_transactions', 'fraud_transactions'), replace(base.name, 'approved_', 'flagged_')
            WHERE base.name LIKE 'approved\_%'
        LOOP
            FOR width IN SELECT * FROM (VALUES
                ('minute', interval '1 minute', ''), ('hour', interval '1 hour', 'minute'), ('day', interval '1 day', 'hour')
            ) AS widths (name, width, finer)
            LOOP
                IF width.finer = '' OR NOT continuous THEN
                    first := format('decided_at) AS bucket, %s FROM %s', base.first, source);
                ELSE
                    first := format('bucket) AS bucket, %s FROM %I', base.summed, bucket || width.finer);
                END IF;
                IF continuous THEN
                    summed := format('SELECT time_bucket(%L::interval, ', width.width) || first;
                ELSE
                    summed := format('SELECT date_bin(%L::interval, ', width.width)
                        || replace(first, 'decided_at) AS bucket', $sql$decided_at, timestamptz '2001-01-01 00:00:00+00') AS bucket$sql$);
                END IF;
                EXECUTE format(kind, bucket || width.name) || summed || ' GROUP BY 1, ' || base.grouped || finish;
            END LOOP;
            IF continuous THEN
                -- A window that is nothing but old costs nothing: only what was written to is counted again.
                PERFORM add_continuous_aggregate_policy((bucket || 'minute')::regclass, start_offset => interval '7 days',
                    end_offset => interval '1 minute', schedule_interval => interval '1 minute');
                PERFORM add_continuous_aggregate_policy((bucket || 'hour')::regclass, start_offset => interval '30 days',
                    end_offset => interval '1 hour', schedule_interval => interval '10 minutes');
                PERFORM add_continuous_aggregate_policy((bucket || 'day')::regclass, start_offset => interval '60 days',
                    end_offset => interval '1 day', schedule_interval => interval '1 hour');
                PERFORM add_retention_policy((bucket || 'minute')::regclass, drop_after => interval '90 days');
                PERFORM add_retention_policy((bucket || 'hour')::regclass, drop_after => interval '1100 days');
            END IF;
        END LOOP;
    END LOOP;

    IF continuous THEN
        ALTER TABLE rule_shadow_hits SET (
            timescaledb.compress, timescaledb.compress_orderby = 'decided_at DESC', timescaledb.compress_segmentby = '');
        PERFORM add_compression_policy('rule_shadow_hits', compress_after => interval '7 days', if_not_exists => true);
    END IF;
END
$$;

-- Where in a row of growing counts a share of all decisions lies, in seconds: straight lines between the bounds, as Prometheus does.
CREATE FUNCTION latency_quantile(share double precision, total numeric, longest double precision, counts numeric[])
RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN total > 0 THEN (
        SELECT least(longest, low + (high - low) * CASE WHEN till > beyond THEN (share * total - beyond) / (till - beyond) ELSE 1 END)
        FROM (
            SELECT at, high, till, lag(high, 1, 0) OVER (ORDER BY at) AS low, lag(till, 1, 0) OVER (ORDER BY at) AS beyond
            FROM unnest(ARRAY[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, greatest(longest, 5)], counts || total)
                WITH ORDINALITY AS bounds (high, till, at)
        ) AS steps
        WHERE till >= share * total ORDER BY at LIMIT 1
    ) END
$$;

DO $$
DECLARE
    width text;
BEGIN
    FOREACH width IN ARRAY ARRAY['minute', 'hour', 'day'] LOOP
        EXECUTE format($sql$
            CREATE VIEW decisions_by_%1$s AS
            SELECT bucket, outcome, currency, sum(decisions)::bigint AS decisions, sum(amount_minor) AS amount_minor,
                sum(degraded)::bigint AS degraded
            FROM (SELECT * FROM approved_by_%1$s UNION ALL SELECT * FROM flagged_by_%1$s) AS both_tables
            GROUP BY bucket, outcome, currency
        $sql$, width);
        EXECUTE format($sql$
            CREATE VIEW fraud_rate_by_%1$s AS
            SELECT bucket, currency, sum(decisions)::bigint AS decisions,
                coalesce(sum(decisions) FILTER (WHERE outcome <> 'approve'), 0)::bigint AS flagged,
                coalesce(sum(decisions) FILTER (WHERE outcome = 'block'), 0)::bigint AS blocked,
                sum(amount_minor) AS amount_minor,
                coalesce(sum(amount_minor) FILTER (WHERE outcome <> 'approve'), 0) AS flagged_amount_minor,
                coalesce(sum(amount_minor) FILTER (WHERE outcome = 'block'), 0) AS blocked_amount_minor,
                (coalesce(sum(decisions) FILTER (WHERE outcome <> 'approve'), 0) / sum(decisions))::double precision AS flagged_ratio
            FROM decisions_by_%1$s
            GROUP BY bucket, currency
        $sql$, width);
        EXECUTE format($sql$
            CREATE VIEW scores_by_%1$s AS
            SELECT bucket, outcome, score_band, (score_band / 10.0)::double precision AS score_from,
                ((score_band + 1) / 10.0)::double precision AS score_to,
                sum(decisions)::bigint AS decisions
            FROM (SELECT * FROM approved_by_%1$s UNION ALL SELECT * FROM flagged_by_%1$s) AS both_tables
            GROUP BY bucket, outcome, score_band
        $sql$, width);
        EXECUTE format($sql$
            CREATE VIEW latency_by_%1$s AS
            SELECT bucket, decisions, latency_s / decisions AS mean_s, latency_max_s AS max_s,
                latency_quantile(0.5, decisions, latency_max_s, counts) AS p50_s,
                latency_quantile(0.95, decisions, latency_max_s, counts) AS p95_s,
                latency_quantile(0.99, decisions, latency_max_s, counts) AS p99_s,
                (counts[5] / decisions)::double precision AS within_250ms_ratio
            FROM (
                SELECT bucket, sum(decisions)::bigint AS decisions, sum(latency_s) AS latency_s, max(latency_max_s) AS latency_max_s,
                    ARRAY[sum(within_10ms), sum(within_25ms), sum(within_50ms), sum(within_100ms), sum(within_250ms),
                        sum(within_500ms), sum(within_1s), sum(within_5s)] AS counts
                FROM (SELECT * FROM approved_by_%1$s UNION ALL SELECT * FROM flagged_by_%1$s) AS both_tables
                GROUP BY bucket
            ) AS summed
        $sql$, width);
        EXECUTE format($sql$
            CREATE VIEW rule_hits_by_%1$s AS
            SELECT bucket, rule_id, action, outcome, currency, false AS shadow, sum(hits)::bigint AS hits,
                sum(amount_minor) AS amount_minor
            FROM (SELECT * FROM approved_rule_hits_by_%1$s UNION ALL SELECT * FROM flagged_rule_hits_by_%1$s) AS both_tables
            GROUP BY bucket, rule_id, action, outcome, currency
            UNION ALL
            SELECT bucket, rule_id, action, NULL, NULL, true, hits, NULL FROM shadow_hits_by_%1$s
        $sql$, width);
    END LOOP;
END
$$;

-- What became known of decisions, by the day on which they were made: the youngest label of each transaction counts.
CREATE VIEW labelled_by_day AS
SELECT date_bin('1 day', ledger.decided_at, timestamptz '2001-01-01 00:00:00+00') AS bucket, ledger.outcome, told.label,
    count(*) AS transactions
FROM (SELECT DISTINCT ON (transaction_id) transaction_id, label FROM labels ORDER BY transaction_id, labelled_at DESC, label_id) AS told
JOIN transaction_ledger AS ledger USING (transaction_id)
GROUP BY 1, 2, 3;

-- Dashboards may read and nothing else: aggregates whole, the rest without what says whose it is. Whoever can log in joins:
-- GRANT fraudstream_dashboards TO grafana. Where we may not make roles, somebody who may does, and calls this again.
CREATE FUNCTION grant_to_dashboards() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    readable record;
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fraudstream_dashboards') THEN
            CREATE ROLE fraudstream_dashboards NOLOGIN;
        END IF;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server was faster
        WHEN insufficient_privilege THEN RETURN false;
    END;
    FOR readable IN SELECT relname FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('v', 'm') AND relname ~ '_by_(minute|hour|day)$'
    LOOP
        EXECUTE format('GRANT SELECT ON %I TO fraudstream_dashboards', readable.relname);
    END LOOP;
    GRANT SELECT (transaction_id, amount_minor, currency, occurred_at, merchant, merchant_category, country, channel, type,
        schema, outcome, score, probability, points, degraded, feature_set, rule_set, lists, model, received_at, decided_at)
        ON decisions TO fraudstream_dashboards;  -- hypertables take no grants on columns
    GRANT SELECT ON transaction_ledger, labels, rule_snoozes TO fraudstream_dashboards;
    GRANT SELECT (alert_id, transaction_id, channel, outcome, severity, attempts, settled_at) ON alerts TO fraudstream_dashboards;
    GRANT SELECT (stream, entry_id, consumer_group, reason, attempts, dead_at, status, closed_at) ON dead_letters
        TO fraudstream_dashboards;
    RETURN true;
END
$$;
COMMENT ON FUNCTION grant_to_dashboards IS 'Lets role fraudstream_dashboards read what is not personal; false where it may not be made';
SELECT grant_to_dashboards();
