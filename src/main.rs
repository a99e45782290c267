//! The command line.

fn main() {
    leave_out_device_layer();
    std::process::exit(selectiv::cli::run());
}

/// Mesa's device selection layer looks for a desktop and prints an error where there is none. It only reorders
/// adapters, which we do ourselves.
#[allow(unsafe_code, reason = "the environment can be changed no other way")]
fn leave_out_device_layer() {
    // SAFETY: this is the first call of `main`, so there is no other thread that could read the environment.
    unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
}
