//! Everything, as one table.
use belay_benches::engine;
use belay_benches::noise::Noise;
use belay_benches::table::Table;

fn main() {
    let before = Noise::measure();
    let mut table = Table::new();
    engine::measure(&mut table);
    println!("\n{}", table.text());
    println!("The machine before: {}.", before.words());
    println!("The machine after:  {}.", Noise::measure().words());
}
