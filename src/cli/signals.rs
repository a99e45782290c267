//! Ctrl-C and SIGTERM: the first asks the run to stop after its step, the second stops at once.

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Exit code of a run that a signal has stopped.
const STOPPED: i32 = 130;

/// Begins to listen, and returns the flag that the first signal sets.
pub(super) fn stop_flag() -> &'static AtomicBool {
    let listening = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(STOPPED);
        }
        eprintln!("stopping after this step; once more to stop at once");
    });
    if let Err(e) = listening {
        eprintln!("signals will stop the run without a checkpoint: {e}");
    }
    &STOP
}
