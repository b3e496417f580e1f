CREATE VIEW IF NOT EXISTS {view}
AS WITH JSONExtract({payload}, 'Tuple(chain Nullable(String), hash Nullable(String), transaction_hash Nullable(String), from Nullable(String), from_address Nullable(String), to Nullable(String), to_address Nullable(String), token Nullable(String), token_address Nullable(String), amount Nullable(String), value Nullable(String), method Nullable(String), block Nullable(UInt64), block_number Nullable(UInt64), nonce Nullable(UInt64), gas Nullable(UInt64), gas_price Nullable(String), fee Nullable(String))') AS fields
SELECT
    event_time,
    source_id,
    severity,
    trace_id,
    user_id,
    wallet_address,
    ifNull(tupleElement(fields, 'chain'), '') AS chain,
    coalesce(tupleElement(fields, 'hash'), tupleElement(fields, 'transaction_hash'), '') AS hash,
    coalesce(tupleElement(fields, 'from'), tupleElement(fields, 'from_address'), '') AS from_address,
    coalesce(tupleElement(fields, 'to'), tupleElement(fields, 'to_address'), '') AS to_address,
    ifNull(tupleElement(fields, 'token'), '') AS token,
    ifNull(tupleElement(fields, 'token_address'), '') AS token_address,
    coalesce(tupleElement(fields, 'amount'), tupleElement(fields, 'value'), '') AS amount,
    toUInt256OrNull(amount) AS amount_units,
    ifNull(tupleElement(fields, 'method'), '') AS method,
    coalesce(tupleElement(fields, 'block'), tupleElement(fields, 'block_number')) AS block,
    tupleElement(fields, 'nonce') AS nonce,
    tupleElement(fields, 'gas') AS gas,
    toUInt256OrNull(tupleElement(fields, 'gas_price')) AS gas_price,
    toUInt256OrNull(tupleElement(fields, 'fee')) AS fee,
    payload_faults,
    stream_created_at,
    stream_seq,
    published_at,
    ingested_at
FROM {table}
WHERE event_type = 'transaction'
