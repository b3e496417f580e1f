ALTER TABLE {database}.{table}
    ADD COLUMN IF NOT EXISTS payload_faults String COMMENT 'what of the payload breaks its contract; empty when nothing does or it was not looked at' CODEC(ZSTD(1)) AFTER extra;
