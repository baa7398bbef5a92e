-- A decision is nearly always whole: the recorder leaves the column out where every row of a copy is.
ALTER TABLE approved_transactions ALTER COLUMN degraded SET DEFAULT '{}';
ALTER TABLE fraud_transactions ALTER COLUMN degraded SET DEFAULT '{}';
