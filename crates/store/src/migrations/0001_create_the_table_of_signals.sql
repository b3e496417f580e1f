CREATE TABLE IF NOT EXISTS {database}.{table}
(
    event_time     DateTime64(3, 'UTC') COMMENT 'when it happened' CODEC(T64, ZSTD(1)),
    source_id      LowCardinality(String) COMMENT 'what sent it' CODEC(ZSTD(1)),
    event_type     LowCardinality(String) COMMENT 'transaction, risk_event, wallet_snapshot, ...' CODEC(ZSTD(1)),
    payload        String COMMENT 'a JSON object, byte for byte as it came' CODEC(ZSTD(1)),
    severity       UInt8 COMMENT '0 to 5' CODEC(ZSTD(1)),
    trace_id       UUID COMMENT 'identifies the signal throughout' CODEC(LZ4),
    user_id        String COMMENT 'empty when there is none' CODEC(ZSTD(1)),
    wallet_address String COMMENT 'empty when there is none' CODEC(ZSTD(1)),
    extra          String COMMENT 'unknown top-level fields as a JSON object; empty when there are none' CODEC(ZSTD(1)),
    subject        LowCardinality(String) COMMENT 'the NATS subject' CODEC(ZSTD(1)),
    stream_created_at DateTime64(9, 'UTC') COMMENT 'when the JetStream stream was created; with stream_seq it identifies the message' CODEC(ZSTD(1)),
    stream_seq     UInt64 COMMENT 'the sequence in the JetStream stream' CODEC(Delta(8), ZSTD(1)),
    published_at   DateTime64(3, 'UTC') COMMENT 'when JetStream stored it' CODEC(Delta(8), ZSTD(1)),
    ingested_at    DateTime64(3, 'UTC') COMMENT 'when the daemon decoded it' CODEC(T64, ZSTD(1)),
    INDEX wallet_address_bloom wallet_address TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX user_id_bloom user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX trace_id_bloom trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX event_time_range event_time TYPE minmax GRANULARITY 1,
    PROJECTION by_sequence (SELECT stream_created_at, stream_seq ORDER BY stream_created_at, stream_seq)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(published_at)
ORDER BY (toYYYYMMDD(event_time), wallet_address, stream_seq)
SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 1000;
