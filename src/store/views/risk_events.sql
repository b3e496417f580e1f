CREATE VIEW IF NOT EXISTS {view}
AS WITH JSONExtract({payload}, 'Tuple(chain Nullable(String), rule Nullable(String), score Nullable(Float64), reasons Array(String), tx_hash Nullable(String), model Nullable(String))') AS fields
SELECT
    event_time,
    source_id,
    severity,
    trace_id,
    user_id,
    wallet_address,
    ifNull(tupleElement(fields, 'chain'), '') AS chain,
    ifNull(tupleElement(fields, 'rule'), '') AS rule,
    tupleElement(fields, 'score') AS score,
    tupleElement(fields, 'reasons') AS reasons,
    ifNull(tupleElement(fields, 'tx_hash'), '') AS tx_hash,
    ifNull(tupleElement(fields, 'model'), '') AS model,
    payload_faults,
    stream_created_at,
    stream_seq,
    published_at,
    ingested_at
FROM {table}
WHERE event_type = 'risk_event'
