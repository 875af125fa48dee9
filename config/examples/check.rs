//! Prints every finding about the files named on its command line:
//! `cargo run -p belay-config --example check -- /etc/cluster/cluster.conf`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut refused = false;
    for name in std::env::args().skip(1) {
        match std::fs::read(&name) {
            Ok(bytes) => {
                let reading = belay_config::read_bytes(&name, &bytes);
                print!("{}", reading.render(false));
                refused |= reading.has_errors();
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                refused = true;
            }
        }
    }
    ExitCode::from(u8::from(refused))
}
