CREATE TABLE IF NOT EXISTS {database}.{table}_claims_logs
(
    log        String COMMENT 'the stream of the claims log',
    created_at DateTime64(9, 'UTC') COMMENT 'when that stream was created',
    fence      UInt32 COMMENT 'seconds from a claim to its fence, at most',
    until      DateTime('UTC') COMMENT 'its claims may land until then, unless a daemon renews it'
)
ENGINE = ReplacingMergeTree(until)
ORDER BY (log, created_at, fence)
COMMENT 'the claims logs with claims on {table}: they share its window of deduplication tokens';
