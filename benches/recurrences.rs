//! Linear recurrences at the shapes of the registry: `cargo bench --bench recurrences`.

mod common;

fn main() {
    common::run(selectiv::bench::Family::Recurrences);
}
