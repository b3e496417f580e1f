CREATE TABLE IF NOT EXISTS {table}
(
    event_time     DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'when it happened',
    source_id      LowCardinality(String) COMMENT 'what sent it',
    event_type     LowCardinality(String) COMMENT 'transaction, risk_event, wallet_snapshot, ...',
    payload        String CODEC(ZSTD(3)) COMMENT 'a JSON object, byte for byte as it came',
    severity       UInt8 CODEC(ZSTD(1)) COMMENT '0 to 5',
    trace_id       UUID COMMENT 'identifies the signal throughout',
    user_id        String CODEC(ZSTD(1)) COMMENT 'empty when there is none',
    wallet_address String CODEC(ZSTD(1)) COMMENT 'empty when there is none',
    extra          String CODEC(ZSTD(1)) COMMENT 'unknown top-level fields as a JSON object; empty when there are none',
    subject        LowCardinality(String) COMMENT 'the NATS subject',
    stream_seq     UInt64 CODEC(Delta(8), ZSTD(1)) COMMENT 'the sequence in the JetStream stream',
    published_at   DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'when JetStream stored it',
    ingested_at    DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'when the daemon decoded it',
    INDEX user_id_bloom user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX trace_id_bloom trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(published_at)
ORDER BY (wallet_address, event_time)
SETTINGS non_replicated_deduplication_window = 1000
