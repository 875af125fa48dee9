//! For the fuzz targets: what of a fence agent's output may be shown.

use super::capture::Captured;
use super::mask::Mask;
use super::run::last_words;

/// What an agent printed, in pieces of this size: kept, without the secrets among its arguments, and its last words.
#[must_use]
pub fn shown(arguments: &[(String, String)], output: &[u8], piece: usize) -> (String, String) {
    let mut captured = Captured::default();
    output.chunks(piece.max(1)).for_each(|piece| captured.take(piece));
    let shown = Mask::new(arguments).apply(&captured);
    let words = last_words(&shown);
    (shown, words)
}
