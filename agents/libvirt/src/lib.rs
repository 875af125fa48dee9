//! What the agent reads that it did not write: calls from the daemon ([`wire`]), the definitions in them ([`definition`]),
//! and what its emulators were started with ([`emulator`]). Pure, and apart from the program so that whoever attacks its
//! readers with any bytes at all needs no libvirt.

pub mod definition;
pub mod emulator;
pub mod wire;
