//! A variant is only run where a short test of it has passed: on some GPU generations accumulators that are carried
//! through a loop race, and some drivers fold the split of an operand away. Both give wrong numbers silently.
//!
//! The test of a variant are the cases of its op that are marked for it, forward and backward, against the f64 twin. The
//! last variant of a list needs none: what it runs on is WebGPU alone, and there is nothing to take in its place.

use super::cache::CacheFile;
use super::device::Gpu;
use super::lower::lower;
use super::runtime::GpuRuntime;
use crate::cases::{Case, compare};
use crate::cpu::CpuRuntime;
use crate::error::Result;
use crate::launch::Caps;
use crate::ops::cases::cases;
use crate::tensor::{Dtype, Precision};
use crate::variant::{Choice, Variant, Verdict};
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// Trials that run at once: each holds a device.
const AT_ONCE: usize = 16;

/// A variant on one of its cases.
pub(super) struct Trial {
    pub(super) case: Case,
    pub(super) variant: &'static Variant,
    pub(super) precision: Precision,
}

impl Trial {
    /// Whether the variant takes the size of the case.
    fn taken(&self, caps: &Caps) -> bool {
        let choice = Choice {
            forced: Some(self.variant.name),
            verdicts: None,
        };
        self.case.graph(self.precision).is_ok_and(|graph| {
            let lowered = lower(&graph, caps, &choice);
            let mut calls = graph.calls().iter().zip(lowered.variants);
            calls.all(|(call, name)| call.op.name() != self.case.op.name() || name == self.variant.name)
        })
    }
}

/// What proves the variants that an adapter offers, by [`Variant::proof`].
pub(super) fn trials(caps: &Caps) -> BTreeMap<String, Vec<Trial>> {
    let mut all: BTreeMap<String, Vec<Trial>> = BTreeMap::new();
    for case in cases().into_iter().filter(|case| case.self_test) {
        let (_, better) = case.op.variants().split_last().expect("every op has a variant");
        for variant in better.iter().filter(|v| caps.offers(v)) {
            for &storage in variant.storage.iter().filter(|s| caps.f16 || **s != Dtype::F16) {
                let (case, precision) = match storage {
                    Dtype::F16 => (case.clone().in_mixed(), Precision::Mixed),
                    _ => (case.clone(), Precision::F32),
                };
                let trial = Trial {
                    case,
                    variant,
                    precision,
                };
                let proof = variant.proof(trial.case.op.name(), storage);
                all.entry(proof)
                    .or_default()
                    .extend(trial.taken(caps).then_some(trial));
            }
        }
    }
    all
}

/// The device, with a verdict on every variant that it offers; `say` hears that they are tested, which of them failed, and
/// about damage to what was kept on disk. Verdicts are kept per adapter, driver and program version; not those of a driver that failed.
///
/// # Errors
/// The driver's, if the device cannot be opened once more for the tests.
pub fn trusted(gpu: Gpu, say: &mut dyn FnMut(&str)) -> Result<Gpu> {
    if let Some(damage) = &gpu.cache_damage {
        say(damage);
    }
    let trials = trials(gpu.caps());
    let file = CacheFile::of(&gpu.info(), "selftest");
    let kept = file.as_ref().and_then(|file| file.load().ok().flatten());
    let mut verdicts = kept.map_or_else(BTreeMap::new, |text| parse(&text));
    let known = verdicts.len();
    let mut broken = BTreeMap::new();
    let mut unknown = trials;
    unknown.retain(|proof, _| !verdicts.contains_key(proof));
    if !unknown.is_empty() {
        say(&format!(
            "testing {} kernel variants, once for each driver and version: some seconds on a GPU, up to a minute",
            unknown.len()
        ));
    }
    for (proof, verdict) in all(&gpu, &unknown)? {
        match verdict {
            Ok(verdict) => drop(verdicts.insert(proof, verdict)),
            Err(e) => drop(broken.insert(proof, Err(e.to_string()))),
        }
    }
    if let Some(file) = file.filter(|_| verdicts.len() > known) {
        file.store(&text(&verdicts));
    }
    verdicts.extend(broken);
    for (proof, verdict) in &verdicts {
        if let Err(why) = verdict {
            say(&format!("{proof} failed its self-test ({why}) and is not used"));
        }
    }
    gpu.choose(|choice| choice.verdicts = Some(verdicts));
    Ok(gpu)
}

/// What the trials of each variant find. Several run at once, each on a device of its own, which a fault of another does not
/// reach: most of the time goes into the driver's compiler, and it works on one kernel a thread.
fn all(gpu: &Gpu, proofs: &BTreeMap<String, Vec<Trial>>) -> Result<BTreeMap<String, Result<Verdict>>> {
    let trials: Vec<(&String, &Trial)> = proofs
        .iter()
        .flat_map(|(proof, trials)| trials.iter().map(move |trial| (proof, trial)))
        .collect();
    // What has no trial that fits is as good as its fallback, which is then what runs.
    let found = proofs.keys().map(|proof| (proof.clone(), Ok(Ok(()))));
    let found: Mutex<BTreeMap<String, Result<Verdict>>> = Mutex::new(found.collect());
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(&(proof, trial)) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut runtime = GpuRuntime::new(gpu.reopen(gpu.options)?);
            let verdict = run(&mut runtime, trial);
            let mut found = found.lock().expect("nothing panics while holding it");
            // What failed stays.
            if let Some(known @ Ok(Ok(()))) = found.get_mut(proof) {
                *known = verdict;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads = available_parallelism().map_or(1, usize::from).min(AT_ONCE);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })?;
    Ok(found.into_inner().expect("nothing panics while holding it"))
}

/// What a trial finds: the first tensor that is off.
fn run(runtime: &mut GpuRuntime, trial: &Trial) -> Result<Verdict> {
    runtime.force(Some(trial.variant.name));
    let oracle = trial.case.run(&mut CpuRuntime::<f64>::new())?;
    let got = trial.case.run_in(trial.precision, runtime)?;
    let deviations = compare(&trial.case, &got, &oracle);
    let off = deviations.iter().find(|d| !d.passed());
    Ok(off.map_or(Ok(()), |d| Err(format!("{} is off by {:.1e}", d.tensor, d.error))))
}

/// A verdict a line.
fn text(verdicts: &BTreeMap<String, Verdict>) -> Vec<u8> {
    let line = |(proof, verdict): (&String, &Verdict)| match verdict {
        Ok(()) => format!("{proof}: passed\n"),
        Err(why) => format!("{proof}: failed: {why}\n"),
    };
    verdicts.iter().map(line).collect::<String>().into_bytes()
}

/// What [`text`] wrote; lines that it cannot have written are as good as none.
fn parse(text: &[u8]) -> BTreeMap<String, Verdict> {
    let verdict = |line: &str| {
        let (proof, verdict) = line.split_once(": ")?;
        let verdict = match verdict {
            "passed" => Ok(()),
            other => Err(other.strip_prefix("failed: ")?.to_owned()),
        };
        Some((proof.to_owned(), verdict))
    };
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(verdict)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_back() {
        let verdicts = BTreeMap::from([
            ("linear/coop f32".to_owned(), Ok(())),
            ("mesa/coop f16".to_owned(), Err("o is off by 4.0e-1".to_owned())),
        ]);
        assert_eq!(parse(&text(&verdicts)), verdicts);
        assert_eq!(parse(b"matrix units passed\n"), BTreeMap::new());
    }
}
