ALTER TABLE {database}.{table}
    ADD COLUMN IF NOT EXISTS insert_before DateTime('UTC') EPHEMERAL toDateTime(4294967295, 'UTC') COMMENT 'not stored: from then on this insert is refused',
    MODIFY COLUMN ingested_at DateTime64(3, 'UTC') DEFAULT if(throwIf(nowInBlock() >= insert_before, 'risksignal: the deadline of this insert is over') = 0, now64(3), now64(3)) COMMENT 'when ClickHouse took it';
