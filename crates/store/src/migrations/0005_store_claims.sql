ALTER TABLE {database}.{table}
    ADD COLUMN IF NOT EXISTS published_sub_ms UInt32 COMMENT 'nanoseconds of published_at below the millisecond' CODEC(ZSTD(1)) AFTER published_at,
    ADD COLUMN IF NOT EXISTS claim UUID COMMENT 'the claim that the row was inserted under' CODEC(ZSTD(1)) AFTER published_sub_ms,
    ADD COLUMN IF NOT EXISTS fence DateTime('UTC') EPHEMERAL toDateTime(0, 'UTC') COMMENT 'not stored: from then on this insert is refused; 0 for none',
    ADD INDEX IF NOT EXISTS stream_seq_range stream_seq TYPE minmax GRANULARITY 1,
    MODIFY COLUMN ingested_at DateTime64(3, 'UTC') DEFAULT if(throwIf(toUInt32(fence) > 0 AND (nowInBlock() >= fence OR toUInt32(nowInBlock()) + 3600 < toUInt32(fence)), 'risksignal: the fence of this claim is over') = 0, now64(3), now64(3)) COMMENT 'when ClickHouse took it',
    MODIFY COLUMN IF EXISTS insert_before DateTime('UTC') ALIAS toDateTime(0, 'UTC') COMMENT 'refuses inserts of older releases, which name it; about to be dropped';
ALTER TABLE {database}.{table} DROP COLUMN IF EXISTS insert_before;
ALTER TABLE {database}.{table} DROP PROJECTION IF EXISTS by_sequence SETTINGS alter_sync = 0;
