//! The local ring's log: all readers come to the same from the same bytes, however the bytes arrive.

use belayd::ring::local::fuzzing::{line, read as told};

/// The bytes as they are, and their lines as a writer would have written them.
pub(crate) fn read(bytes: &[u8]) {
    let sealed: Vec<u8> = bytes.split(|byte| *byte == b'\n').flat_map(line).collect();
    for log in [bytes, &sealed] {
        let whole = told(log, log.len());
        assert_eq!(told(log, 1), whole);
        assert_eq!(told(log, 7), whole);
    }
}
