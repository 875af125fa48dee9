//! The replicated state: what every member knows, and how entries change it.

pub mod work;
