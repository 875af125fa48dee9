//! The running hash of a history: two histories of one length that are not the same have different ones.

use belay_proto::entry::Entry;

pub(super) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits: guards against accidents, not against malice; all members are trusted.
pub(super) fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The hash of a history that continues with this entry.
#[must_use]
pub(crate) fn extend(chain: u64, entry: &Entry) -> u64 {
    let bytes = serde_json::to_vec(entry).unwrap_or_default();
    fnv(FNV_START ^ chain, &bytes)
}
