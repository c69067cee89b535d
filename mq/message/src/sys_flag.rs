//! Bits of a message's `sysFlag`.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The message carries several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// Half message of a transaction.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Committed message of a transaction.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Rolled back message of a transaction; also the mask of the transaction bits.
pub const TRANSACTION_ROLLBACK: i32 = 0xc;
/// The born host is an IPv6 address.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 0x20;
/// The consumer must unwrap an inner batch.
pub const NEED_UNWRAP: i32 = 0x40;
/// The message is an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// Mask of the compression type.
pub const COMPRESSION_TYPE: i32 = 0x700;
/// Compression type LZ4 (frame format).
pub const COMPRESSION_LZ4: i32 = 0x100;
/// Compression type Zstandard.
pub const COMPRESSION_ZSTD: i32 = 0x200;
/// Compression type zlib; 0 in these bits means zlib too (older clients).
pub const COMPRESSION_ZLIB: i32 = 0x300;

/// The transaction bits alone.
pub const fn transaction(flag: i32) -> i32 {
    flag & TRANSACTION_ROLLBACK
}

/// `flag` with its transaction bits replaced by `bits`.
pub const fn with_transaction(flag: i32, bits: i32) -> i32 {
    (flag & !TRANSACTION_ROLLBACK) | bits
}
