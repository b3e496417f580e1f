CREATE VIEW IF NOT EXISTS {view}
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
        WITH JSONExtract({payload}, 'Tuple(chain Nullable(String), block Nullable(UInt64), balances Map(String, String))') AS fields
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
        FROM {table}
        WHERE (event_type = 'wallet_snapshot') AND (wallet_address != '')
    )
    WHERE match(tupleElement(entry, 2), '^[0-9]+([.][0-9]+)?$')
    GROUP BY wallet_address, chain, token
)
