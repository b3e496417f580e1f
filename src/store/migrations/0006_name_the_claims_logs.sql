CREATE TABLE IF NOT EXISTS {database}.{table}_claims_logs
(
    log   String COMMENT 'the claims log, with the creation of its stream',
    until DateTime('UTC') COMMENT 'its claims count until then, unless a daemon renews it'
)
ENGINE = ReplacingMergeTree(until)
ORDER BY log
COMMENT 'the claims logs that share the window of deduplication tokens of {table}';
