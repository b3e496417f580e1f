-- The daemon's user on your own ClickHouse: it may do what `risksignal run` and `risksignal check`
-- require, and nothing else. An administrator runs `risksignal migrate` first, and again after an
-- upgrade; the daemon then runs with clickhouse.migrate = false. Readers of the views
-- (transactions, risk_events, wallet_snapshots) need SELECT on them and, since a view has the
-- rights of its reader, on raw_signals. tests/it/least_privilege.rs runs the daemon with exactly
-- these grants, on ClickHouse 26.7.
--
--     clickhouse-client --param_password=... --queries-file infra/clickhouse/grants.sql

CREATE USER IF NOT EXISTS risksignal IDENTIFIED WITH sha256_password BY {password:String};

-- Insert batches. This includes the right to see the table's columns.
GRANT INSERT ON risksignal.raw_signals TO risksignal;
-- Look up the messages that have a row, and their claims. The content of signals stays unread.
GRANT SELECT(stream_created_at, stream_seq, published_at, published_sub_ms, claim) ON risksignal.raw_signals TO risksignal;
-- `risksignal serve` for tokens that read, and the cache (cache.url), also need the content:
--     GRANT SELECT ON risksignal.raw_signals TO risksignal;
-- Read the definitions of your own materialized views, so that `risksignal check` can name those
-- that repeat rows; without this grant it sees only their names:
--     GRANT SHOW TABLES ON risksignal.* TO risksignal;
-- Read the schema's version.
GRANT SELECT ON risksignal.schema_migrations TO risksignal;
-- Record the claims log and its longest fence, and see the others that share the table's window of
-- tokens.
GRANT SELECT, INSERT ON risksignal.raw_signals_claims_logs TO risksignal;
