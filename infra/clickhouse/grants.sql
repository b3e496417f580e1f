-- The daemon's user on a ClickHouse of your own: it may do what `risksignal run` and
-- `risksignal check` need, and nothing else. An administrator runs `risksignal migrate` first, and
-- again after an upgrade; the daemon then runs with clickhouse.migrate = false.
-- Whoever reads the views (transactions, risk_events, wallet_snapshots) needs SELECT on them and, as
-- a view has the rights of its reader, on raw_signals.
-- tests/it/least_privilege.rs runs the daemon with exactly these grants, on a ClickHouse 26.7.
--
--     clickhouse-client --param_password=... --queries-file infra/clickhouse/grants.sql

CREATE USER IF NOT EXISTS risksignal IDENTIFIED WITH sha256_password BY {password:String};

-- Insert batches. With it goes the right to see the table's columns.
GRANT INSERT ON risksignal.raw_signals TO risksignal;
-- Look up which messages have a row, and under which claim. The signals themselves stay unread.
GRANT SELECT(stream_created_at, stream_seq, published_at, published_sub_ms, claim) ON risksignal.raw_signals TO risksignal;
-- `risksignal serve` for tokens that read, and the cache (cache.url), need the signals themselves:
--     GRANT SELECT ON risksignal.raw_signals TO risksignal;
-- Look into materialized views of your own, which `risksignal check` names when they repeat rows; without it
-- only their names are seen:
--     GRANT SHOW TABLES ON risksignal.* TO risksignal;
-- Tell the schema's version.
GRANT SELECT ON risksignal.schema_migrations TO risksignal;
-- Record the claims log and its longest fence, and see which others share the table's window of tokens.
GRANT SELECT, INSERT ON risksignal.raw_signals_claims_logs TO risksignal;
