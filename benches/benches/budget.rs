//! `cargo bench --package belay-benches`: everything, as one table. A word as argument measures only that part:
//! `engine`, `status`, `death`, `idle`.

use belay_benches::noise::Noise;
use belay_benches::table::Table;
use belay_benches::{daemon, death, engine, idle, status};

fn main() -> anyhow::Result<()> {
    // Cargo itself passes options such as --bench.
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| only.is_empty() || only.iter().any(|word| word == part);
    let before = Noise::measure();
    let mut table = Table::new();
    if wanted("engine") {
        engine::measure(&mut table);
    }
    if wanted("status") || wanted("death") || wanted("idle") {
        let programs = daemon::Programs::find()?;
        if wanted("status") {
            status::measure(&mut table, &programs)?;
        }
        if wanted("death") {
            death::measure(&mut table, &programs)?;
        }
        if wanted("idle") {
            idle::measure(&mut table, &programs)?;
        }
    }
    println!("\n{}", table.text());
    println!("The machine before: {}.", before.words());
    println!("The machine after:  {}.", Noise::measure().words());
    Ok(())
}
