//! What the criterion files share: the benches of a family, from the registry, on one device.

use criterion::{BenchmarkId, Criterion, Throughput};
use selectiv::bench::{DeviceClass, Family, Prepared, Scale, Timed, registry};
use selectiv::tensor::Precision;
use selectiv::train::Executor;
use std::time::Duration;

/// Names the device: `cpu` (the default), `gpu:0`, `auto`.
const DEVICE: &str = "SELECTIV_BENCH_DEVICE";
/// On what is not a GPU, shapes are this much smaller than those of `selectiv bench`: criterion runs each many times.
const SMALLER: usize = 16;

/// Runs all benches of a family, by the device's own clock where it has one.
pub(crate) fn run(family: Family) {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let device = std::env::var(DEVICE).unwrap_or_else(|_| "cpu".to_owned());
    let mut executor = Executor::open(&device, &mut |_| {}).unwrap_or_else(|e| panic!("{DEVICE}: {e}"));
    let class = DeviceClass::of(&executor);
    let scale = match class {
        DeviceClass::Gpu => class.scale(),
        DeviceClass::SoftwareGpu | DeviceClass::Cpu => Scale(SMALLER * class.scale().0),
    };
    for bench in registry(scale).into_iter().filter(|b| b.family == family) {
        let mut group = criterion.benchmark_group(bench.kind);
        for timed in [Timed::Forward, Timed::Training] {
            if timed == Timed::Training && !bench.trains() {
                continue;
            }
            // Made only if criterion's filter lets the bench run.
            let mut prepared: Option<Prepared> = None;
            group.throughput(Throughput::ElementsAndBytes {
                elements: bench.cost(timed, Precision::F32).flops as u64,
                bytes: bench.cost(timed, Precision::F32).bytes as u64,
            });
            group.bench_function(BenchmarkId::new(timed.name(), &bench.shape), |b| {
                let prepared = *prepared.get_or_insert_with(|| {
                    let loaded = Prepared::new(&bench, timed, Precision::F32, &mut executor)
                        .expect("the device works");
                    loaded.unwrap_or_else(|reason| panic!("{} does not fit: {reason}", bench.name()))
                });
                let runtime = executor.runtime();
                b.iter_custom(|runs| {
                    (0..runs)
                        .map(|_| prepared.time_once(runtime).expect("the device works"))
                        .sum()
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
