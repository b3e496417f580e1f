-- Returns to a release from before the claims log (migration 5). Stop every daemon first, with
-- SIGTERM, and wait until `nats consumer info SIGNALS signals-to-clickhouse` shows no outstanding
-- acks. Then run this, remove the claims log (`nats stream rm
-- SIGNALS_CLAIMS_risksignal_raw_signals`), and start the old release. From the first statement on,
-- ClickHouse rejects inserts of the newer release (code 16, which names fence). Rows and the
-- further columns stay. A later upgrade runs migrations 5 and 6 again. Until then the old release
-- looks rows up without the projection by_sequence, which reads more. tests/it/upgrade.rs runs this
-- file. Replace risksignal.raw_signals with your own names.
ALTER TABLE risksignal.raw_signals
    ADD COLUMN IF NOT EXISTS insert_before DateTime('UTC') EPHEMERAL toDateTime(4294967295, 'UTC') COMMENT 'not stored: from then on this insert is refused',
    MODIFY COLUMN ingested_at DateTime64(3, 'UTC') DEFAULT if(throwIf(nowInBlock() >= insert_before, 'risksignal: the deadline of this insert is over') = 0, now64(3), now64(3)) COMMENT 'when ClickHouse took it',
    MODIFY COLUMN IF EXISTS fence DateTime('UTC') ALIAS toDateTime(0, 'UTC');
ALTER TABLE risksignal.raw_signals DROP COLUMN IF EXISTS fence;
DELETE FROM risksignal.schema_migrations WHERE table_name = 'raw_signals' AND version IN (5, 6);
DROP TABLE IF EXISTS risksignal.raw_signals_claims_logs;
