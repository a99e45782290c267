//! Ctrl-C, SIGTERM and SIGHUP: the first asks the work to stop where it can go on later; a second Ctrl-C ends it at
//! once. A signal that was ignored when the program began, as `nohup` does with SIGHUP, stays ignored.

use super::print;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);
static LISTENING: AtomicBool = AtomicBool::new(false);

/// Exit code of a run that a signal has stopped.
const STOPPED: i32 = 130;

/// Begins to listen, and returns the flag that the first signal sets.
pub(super) fn stop_flag() -> &'static AtomicBool {
    if !LISTENING.swap(true, Ordering::SeqCst)
        && let Err(e) = system::listen()
    {
        print::message(&format!("a signal will stop this at once: {e}"));
    }
    &STOP
}

/// A signal has come; `again_ends` if a second one like it ends the program at once.
fn heard(again_ends: bool) {
    let first = !STOP.swap(true, Ordering::SeqCst);
    if first {
        print::message("stopping after this step; a second Ctrl-C stops at once");
    } else if again_ends {
        std::process::exit(STOPPED);
    }
}

#[cfg(unix)]
mod system {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use std::io;

    /// Calls [`super::heard`] in a thread of its own.
    pub(super) fn listen() -> io::Result<()> {
        let wanted = [SIGINT, SIGTERM, SIGHUP];
        let mut signals = Signals::new(wanted.into_iter().filter(|signal| !is_ignored(*signal)))?;
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let mut interrupts = 0;
                for signal in signals.forever() {
                    interrupts += u32::from(signal == SIGINT);
                    super::heard(signal == SIGINT && interrupts > 1);
                }
            })?;
        Ok(())
    }

    /// A file that grows past `ulimit -f` becomes an error of the write instead of a silent death.
    pub(in crate::cli) fn files_too_large_are_errors() {
        let flag = std::sync::Arc::default();
        // Without it the limit kills as it always did.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, flag);
    }

    /// An allocation that fails aborts the process, which then ends with this exit code.
    pub(in crate::cli) fn abort_ends_in_order(code: i32) -> io::Result<()> {
        let always = std::sync::Arc::new(true.into());
        signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGABRT, code, always).map(drop)
    }

    #[allow(unsafe_code, reason = "no safe call says how a signal is handled")]
    fn is_ignored(signal: i32) -> bool {
        let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: with a null new action `sigaction` changes nothing and only writes the current one to `now`, which
        // is as large as it has to be; all bytes zero are a valid `sigaction`, so `now` is initialised if it fails.
        let now = unsafe {
            libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr());
            now.assume_init()
        };
        now.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
mod system {
    /// Calls [`super::heard`] in a thread of its own.
    pub(super) fn listen() -> Result<(), ctrlc::Error> {
        ctrlc::set_handler(|| super::heard(true))
    }

    pub(in crate::cli) fn files_too_large_are_errors() {}

    pub(in crate::cli) fn abort_ends_in_order(_: i32) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) use system::{abort_ends_in_order, files_too_large_are_errors};

/// Set by SIGUSR1: a batch system's warning that the time of its job is nearly up.
static TIME_IS_UP: AtomicBool = AtomicBool::new(false);

/// Whether that warning has come.
pub(super) fn time_is_up() -> bool {
    TIME_IS_UP.load(Ordering::SeqCst)
}

/// Begins to listen for the warning: the work stops then as it does at the first Ctrl-C.
#[cfg(unix)]
pub(super) fn stop_before_time_is_up() {
    use signal_hook::consts::SIGUSR1;
    use signal_hook::iterator::Signals;
    // Without it the batch system ends the work as it likes, and it goes on after its last checkpoint.
    let Ok(mut signals) = Signals::new([SIGUSR1]) else {
        return;
    };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            TIME_IS_UP.store(true, Ordering::SeqCst);
            STOP.store(true, Ordering::SeqCst);
        }
    });
}

/// Batch systems that warn run elsewhere.
#[cfg(not(unix))]
pub(super) fn stop_before_time_is_up() {}
