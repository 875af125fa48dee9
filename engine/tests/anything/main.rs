//! Whatever is in the stream, and whatever the state it meets: applying it neither panics nor divides the members.

#[cfg(test)]
mod entries;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod states;
/// Configurations as the reader's own tests write them.
#[cfg(test)]
#[path = "../../../config/tests/reader/written.rs"]
mod written;
