//! For the fuzz targets: the log's readers, fed with any bytes.

use super::book::{Book, Effect};
use super::record::{self, Record};
use super::scanner::Scanner;
use std::fmt::Write;

/// A line as a writer whose checksum is right would have written it. Without this, what comes behind the checksum would
/// never be reached by chance.
#[must_use]
pub fn line(body: &[u8]) -> Vec<u8> {
    [format!("\n{:08x} ", record::checksum(body)).as_bytes(), body, b"\n"].concat()
}

/// Everything a reader makes of a log that arrives in pieces of this size: what the lines are, what counts of them, and
/// what is known at the end.
///
/// # Panics
/// When a record does not survive being written and read again.
#[must_use]
pub fn read(log: &[u8], piece: usize) -> String {
    let (mut scanner, mut book) = (Scanner::default(), Book::unread(1));
    let mut told = String::new();
    for piece in log.chunks(piece.max(1)) {
        scanner.feed(piece);
        while let Some(record) = scanner.next() {
            let written = record.encode();
            // Between its newlines.
            let again = Record::decode(&written[1..written.len() - 1]);
            assert_eq!(again.as_ref().map(Record::encode), Some(written), "{record:?} is not what was written");
            let effect = book.apply(record);
            let over = matches!(effect, Some(Effect::Contradiction));
            // Writing to a String cannot fail.
            let _ = writeln!(told, "{effect:?} {} {}", book.ring(), book.begun());
            if over {
                // A reader that sees this joins anew.
                book = Book::unread(book.segment());
            }
        }
    }
    let _ = write!(told, "{book:?}, {} skipped", scanner.skipped());
    told
}
