CREATE VIEW IF NOT EXISTS {database}.{prefix}transactions
AS WITH JSONExtract(if(isValidJSON(payload), payload, arrayStringConcat(arrayMap(token -> if(match(token, '^-?[0-9]{19,}$'), concat('"', token, '"'), token), extractAll(payload, '("(?:[^"\\\\]|\\\\.)*"|[-+.0-9eE]+|[^-+.0-9eE"]+)')))), 'Tuple(chain Nullable(String), hash Nullable(String), transaction_hash Nullable(String), from Nullable(String), from_address Nullable(String), to Nullable(String), to_address Nullable(String), token Nullable(String), token_address Nullable(String), amount Nullable(String), value Nullable(String), method Nullable(String), block Nullable(UInt64), block_number Nullable(UInt64), nonce Nullable(UInt64), gas Nullable(UInt64), gas_price Nullable(String), fee Nullable(String))') AS fields
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
FROM {database}.{table}
WHERE event_type = 'transaction';

CREATE VIEW IF NOT EXISTS {database}.{prefix}risk_events
AS WITH JSONExtract(if(isValidJSON(payload), payload, arrayStringConcat(arrayMap(token -> if(match(token, '^-?[0-9]{19,}$'), concat('"', token, '"'), token), extractAll(payload, '("(?:[^"\\\\]|\\\\.)*"|[-+.0-9eE]+|[^-+.0-9eE"]+)')))), 'Tuple(chain Nullable(String), rule Nullable(String), score Nullable(Float64), reasons Array(String), tx_hash Nullable(String), model Nullable(String))') AS fields
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
FROM {database}.{table}
WHERE event_type = 'risk_event';

CREATE VIEW IF NOT EXISTS {database}.{prefix}wallet_snapshots
AS SELECT
    wallet_address,
    chain,
    token,
    tupleElement(latest, 1) AS balance,
    toDecimal256OrNull(balance, 24) AS balance_decimal,
    tupleElement(latest, 2) AS event_time,
    tupleElement(latest, 3) AS block,
    tupleElement(latest, 4) AS trace_id,
    tupleElement(latest, 5) AS user_id,
    tupleElement(latest, 6) AS stream_seq,
    tupleElement(latest, 7) AS published_at
FROM
(
    SELECT
        wallet_address,
        chain,
        tupleElement(entry, 1) AS token,
        argMax((tupleElement(entry, 2), event_time, block, trace_id, user_id, stream_seq, published_at), (event_time, stream_created_at, stream_seq)) AS latest
    FROM
    (
        WITH JSONExtract(if(isValidJSON(payload), payload, arrayStringConcat(arrayMap(token -> if(match(token, '^-?[0-9]{19,}$'), concat('"', token, '"'), token), extractAll(payload, '("(?:[^"\\\\]|\\\\.)*"|[-+.0-9eE]+|[^-+.0-9eE"]+)')))), 'Tuple(chain Nullable(String), block Nullable(UInt64), balances Map(String, String))') AS fields
        SELECT
            wallet_address,
            ifNull(tupleElement(fields, 'chain'), '') AS chain,
            tupleElement(fields, 'block') AS block,
            arrayJoin(CAST(tupleElement(fields, 'balances'), 'Array(Tuple(String, String))')) AS entry,
            event_time,
            trace_id,
            user_id,
            stream_created_at,
            stream_seq,
            published_at
        FROM {database}.{table}
        WHERE (event_type = 'wallet_snapshot') AND (wallet_address != '')
    )
    WHERE match(tupleElement(entry, 2), '^[0-9]+([.][0-9]+)?$')
    GROUP BY wallet_address, chain, token
);
