//! Batches made ahead by background threads, in order.

use super::batch::Batch;
use super::data::DataSet;
use super::spec::Split;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Batches that may be ready and not yet taken, for each thread.
const AHEAD: u64 = 2;

/// An iterator over the batches of a split: the same ones in the same order whatever the number of threads.
///
/// Memory stays bounded: threads wait while two batches each are ready. Dropping it stops the threads.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    data: Arc<DataSet>,
    split: Split,
    batch_size: usize,
    end: u64,
    ahead: u64,
    queue: Mutex<Queue>,
    /// Told when a batch is ready, or a thread has died.
    ready: Condvar,
    /// Told when a batch has been taken, or all shall stop.
    room: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// The next batch that a thread takes on.
    next_made: u64,
    /// The next batch that the reader gets.
    next_taken: u64,
    made: BTreeMap<u64, Batch>,
    stop: bool,
    died: bool,
}

impl Loader {
    /// Makes the batches of these indices: batch i begins at sample `i * batch_size`. To resume, start the
    /// range at the first batch not yet used. Training samples go round; the last batch of another split may
    /// be smaller. Where the system has no room for so many threads there are fewer; without any the reader makes them.
    ///
    /// # Panics
    /// For a batch size or a number of threads of 0.
    pub fn new(
        data: Arc<DataSet>,
        split: Split,
        batch_size: usize,
        batches: Range<u64>,
        threads: usize,
    ) -> Self {
        assert!(
            batch_size > 0 && threads > 0,
            "{batch_size} samples a batch, {threads} threads"
        );
        let end = if split == Split::Train {
            batches.end
        } else {
            batches.end.min(data.count(split).div_ceil(batch_size as u64))
        };
        let start = batches.start;
        let queue = Queue {
            next_made: start,
            next_taken: start,
            made: BTreeMap::new(),
            stop: false,
            died: false,
        };
        let shared = Arc::new(Shared {
            data,
            split,
            batch_size,
            end,
            ahead: AHEAD * threads as u64,
            queue: Mutex::new(queue),
            ready: Condvar::new(),
            room: Condvar::new(),
        });
        let threads = (0..threads)
            .map_while(|_| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().spawn(move || shared.work()).ok()
            })
            .collect();
        Self { shared, threads }
    }

    /// Index of the batch that comes next.
    pub fn position(&self) -> u64 {
        self.shared.lock().next_taken
    }
}

impl Iterator for Loader {
    type Item = Batch;

    /// # Panics
    /// If a thread of the loader has panicked.
    fn next(&mut self) -> Option<Batch> {
        let shared = &self.shared;
        let mut queue = shared.lock();
        let wanted = queue.next_taken;
        if wanted >= shared.end {
            return None;
        }
        if self.threads.is_empty() {
            queue.next_taken += 1;
            drop(queue);
            return Some(shared.make(wanted));
        }
        loop {
            if let Some(batch) = queue.made.remove(&wanted) {
                queue.next_taken += 1;
                shared.room.notify_all();
                return Some(batch);
            }
            if queue.died {
                // Unlocked first, or dropping the loader while unwinding would find the lock poisoned and
                // abort.
                drop(queue);
                panic!("a thread that makes batches has panicked");
            }
            queue = shared.ready.wait(queue).expect(NOT_POISONED);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // A panic has already been reported to the reader, or concerns nobody any more.
            drop(thread.join());
        }
    }
}

const NOT_POISONED: &str = "no code that can panic runs under this lock";

/// Tells the reader if its thread ends by a panic.
struct DeathNotice<'a>(&'a Shared);

impl Drop for DeathNotice<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().died = true;
            self.0.ready.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect(NOT_POISONED)
    }

    fn work(&self) {
        let _notice = DeathNotice(self);
        while let Some(index) = self.take_on() {
            let batch = self.make(index);
            self.lock().made.insert(index, batch);
            self.ready.notify_all();
        }
    }

    /// The index of a batch to make, once there is room for it.
    fn take_on(&self) -> Option<u64> {
        let mut queue = self.lock();
        loop {
            if queue.stop || queue.next_made >= self.end {
                return None;
            }
            if queue.next_made < queue.next_taken + self.ahead {
                queue.next_made += 1;
                return Some(queue.next_made - 1);
            }
            queue = self.room.wait(queue).expect(NOT_POISONED);
        }
    }

    fn make(&self, index: u64) -> Batch {
        let first = index * self.batch_size as u64;
        let size = match self.split {
            Split::Train => self.batch_size,
            split => self.batch_size.min((self.data.count(split) - first) as usize),
        };
        self.data.batch(self.split, first, size)
    }
}

/// Sequences of a split that a loader with so many threads delivers per second, measured for about
/// `duration`.
pub fn rate(data: &Arc<DataSet>, batch_size: usize, threads: usize, duration: Duration) -> f64 {
    let start = Instant::now();
    let loader = Loader::new(Arc::clone(data), Split::Train, batch_size, 0..u64::MAX, threads);
    let mut sequences = 0;
    for batch in loader {
        sequences += batch.b;
        if start.elapsed() >= duration {
            break;
        }
    }
    sequences as f64 / start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::data::tests::grammar;
    use crate::tasks::{DataSpec, Gap, Splits};

    fn data() -> Arc<DataSet> {
        let spec = DataSpec::plain(30, Splits::Disjoint, [100, 10, 23], Gap::Fixed(1));
        Arc::new(DataSet::new(grammar(), spec, 7).unwrap())
    }

    #[test]
    fn same_batches_for_any_number_of_threads() {
        let data = data();
        for threads in [1, 2, 5] {
            let loader = Loader::new(Arc::clone(&data), Split::Train, 8, 0..40, threads);
            let mut count = 0;
            for (i, batch) in loader.enumerate() {
                assert_eq!(
                    batch,
                    data.batch(Split::Train, 8 * i as u64, 8),
                    "batch {i}, {threads} threads"
                );
                count += 1;
            }
            assert_eq!(count, 40);
        }
    }

    #[test]
    fn resumes_at_any_batch() {
        let data = data();
        let mut whole = Loader::new(Arc::clone(&data), Split::Train, 8, 0..20, 2).skip(7);
        let mut resumed = Loader::new(Arc::clone(&data), Split::Train, 8, 7..20, 3);
        assert_eq!(resumed.position(), 7);
        for _ in 7..20 {
            assert_eq!(whole.next(), resumed.next());
        }
        assert_eq!((whole.next(), resumed.next()), (None, None));
        assert_eq!(resumed.position(), 20);
    }

    #[test]
    fn last_test_batch_is_smaller() {
        let sizes: Vec<usize> = Loader::new(data(), Split::Test, 10, 0..u64::MAX, 2)
            .map(|batch| batch.b)
            .collect();
        assert_eq!(sizes, [10, 10, 3]);
    }

    #[test]
    fn stays_bounded_and_stops_when_dropped() {
        let data = data();
        let mut loader = Loader::new(Arc::clone(&data), Split::Train, 4, 0..u64::MAX, 2);
        for _ in 0..10 {
            loader.next().unwrap();
        }
        // Once the queue is full the threads take on nothing more.
        while loader.shared.lock().made.len() < 4 {
            std::thread::yield_now();
        }
        assert_eq!(loader.shared.lock().next_made, 14);
        drop(loader);
        assert_eq!(Arc::strong_count(&data), 1);
    }

    #[test]
    fn dead_thread_is_reported() {
        let data = data();
        let mut loader = Loader::new(data, Split::Test, 10, 0..1, 1);
        loader.next().unwrap();
        // A reader that waits for a batch whose maker has died must not wait for ever.
        let shared = Arc::clone(&loader.shared);
        std::thread::spawn(move || {
            let _notice = DeathNotice(&shared);
            panic!("a maker dies");
        })
        .join()
        .unwrap_err();
        loader.shared.lock().next_taken = 0;
        let waiting = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loader.next()));
        assert!(waiting.is_err());
    }

    #[test]
    fn without_threads_the_reader_makes_them() {
        let data = data();
        let mut loader = Loader::new(Arc::clone(&data), Split::Train, 8, 3..5, 1);
        loader.shared.lock().stop = true;
        loader.threads.drain(..).for_each(|thread| thread.join().unwrap());
        for i in 3..5 {
            assert_eq!(loader.next().unwrap(), data.batch(Split::Train, 8 * i, 8));
        }
        assert_eq!(loader.next(), None);
    }

    #[test]
    fn rate_counts_sequences() {
        assert!(rate(&data(), 8, 2, Duration::from_millis(20)) > 0.0);
    }
}
