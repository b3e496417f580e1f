CREATE TABLE IF NOT EXISTS {database}.claims_logs
(
    table_name String COMMENT 'the table that the claims are on',
    log String COMMENT 'the stream of the claims log',
    fence UInt32 COMMENT 'seconds from a claim to its fence, at most',
    recorded_at DateTime64(3, 'UTC') COMMENT 'when a daemon with these settings began to claim'
)
ENGINE = ReplacingMergeTree(recorded_at)
ORDER BY (table_name, log, fence)
