//! The demo: three hosts on one machine, with real daemons and real QEMU virtual machines, and a story that breaks them.
//!
//! A "host" here is a process tree: `belay-demo-host` plays the machine and its init (it starts `belayd`, restarts it
//! when it dies and reaps what is orphaned), and `belay-demo` plays the power supply and tells the story. Nothing in
//! here decides anything about a VM: it breaks things, and watches the process table to see what the daemons do about it.
//! What is printed and reported was seen there or in the daemons' history; nothing is assumed.

pub mod host;
pub mod layout;
pub mod power;
pub mod process;
pub mod reaper;
pub mod report;
pub mod sampler;
pub mod screen;
pub mod story;
pub mod talk;
pub mod world;
