//! The machine's memory: asked for before it is taken, because what is not there ends a process without a word.

use crate::error::{OutOfMemory, Room};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Bytes that this process could still take without swapping others out, where the system tells.
pub fn free() -> Option<u64> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything());
    let system = System::new_with_specifics(memory);
    let mut free = system.available_memory().saturating_add(system.free_swap());
    // What a container has used counts files that can be dropped, so that only its limit is a bound.
    if let Some(limits) = system.cgroup_limits() {
        free = free.min(limits.total_memory);
    }
    (free > 0).then_some(free)
}

/// Whether so many bytes more can be had. Nothing stays allocated.
///
/// # Errors
/// [`OutOfMemory`] with what is free, or without it if the process may not address so much.
pub fn ask(what: &str, bytes: u64) -> Result<(), OutOfMemory> {
    let refuse = |room| OutOfMemory {
        device: "this machine".to_owned(),
        what: what.to_owned(),
        needed: bytes,
        room,
    };
    let free = free();
    if free.is_some_and(|free| bytes > free) {
        return Err(refuse(Room::Free(free)));
    }
    let size = usize::try_from(bytes).map_err(|_| refuse(Room::Free(free)))?;
    Vec::<u8>::new()
        .try_reserve_exact(size)
        .map_err(|_| refuse(Room::Free(None)))
}

/// Bytes of so many elements of a type; what no memory holds saturates.
pub fn bytes_of<T>(count: usize) -> u64 {
    (count as u64).saturating_mul(size_of::<T>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_there_and_everything_is_not() {
        assert_eq!(ask("a page", 4096), Ok(()));
        for bytes in [1 << 50, u64::MAX] {
            let error = ask("a lake", bytes).unwrap_err();
            assert_eq!((error.what.as_str(), error.needed), ("a lake", bytes));
        }
        assert_eq!(bytes_of::<u32>(usize::MAX), u64::MAX);
    }
}
