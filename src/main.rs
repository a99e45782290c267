//! The command line.

fn main() {
    std::process::exit(selectiv::cli::run());
}
