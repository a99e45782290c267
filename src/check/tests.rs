use super::{Outcome, Precision, Source, golden, grammars};
use crate::cpu::CpuRuntime;
use crate::runtime::Runtime;

fn goldens(runtime: &mut dyn Runtime, precision: Precision) {
    let mut checked = 0;
    let mut report = |o: Outcome| {
        assert!(
            o.passed(),
            "{} on {}: {:?} {:?}",
            o.name,
            o.device,
            o.worst(),
            o.result.as_ref().err()
        );
        checked += 1;
    };
    golden::ops(&Source::BuiltIn, runtime, precision, &mut report).unwrap();
    golden::models(&Source::BuiltIn, runtime, precision, &mut report).unwrap();
    assert!(checked > 50, "only {checked} entries");
}

#[test]
fn ops_and_models_match_goldens_in_f64() {
    goldens(&mut CpuRuntime::<f64>::new(), Precision::F64);
}

#[test]
fn ops_and_models_match_goldens_in_f32() {
    goldens(&mut CpuRuntime::<f32>::new(), Precision::F32);
}

#[cfg(feature = "gpu")]
#[test]
fn ops_and_models_match_goldens_on_gpus() {
    crate::testing::gpu::each_device(|_, runtime| goldens(runtime, Precision::F32));
}

#[test]
fn grammars_match_goldens() {
    let mut passed = 0;
    let mut report = |o: Outcome| match &o.result {
        Ok(_) => {
            assert!(o.passed(), "{}: {:?}", o.name, o.worst());
            passed += 1;
        }
        Err(reason) => assert!(reason.contains("not built yet"), "{}: {reason}", o.name),
    };
    grammars(&Source::BuiltIn, &mut report).unwrap();
    assert!(passed >= 10, "only {passed} entries");
}
