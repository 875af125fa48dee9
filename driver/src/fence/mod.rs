//! Work on victims.
