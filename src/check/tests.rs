use super::{Outcome, Precision, Source, golden, grammars};
use crate::cpu::CpuRuntime;
use crate::runtime::Runtime;
use serde_json::json;

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
        Ok(())
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
fn every_model_has_a_golden() {
    let index: serde_json::Value = Source::BuiltIn.json("models/index.json").unwrap();
    let entries = index["entries"].as_array().unwrap();
    for block in crate::models::BLOCKS {
        let name = block.name();
        assert!(entries.iter().any(|e| e["name"] == name), "{name} has none");
    }
}

#[test]
fn grammars_match_goldens() {
    let mut passed = 0;
    let mut report = |o: Outcome| {
        assert!(
            o.passed(),
            "{}: {:?} {:?}",
            o.name,
            o.worst(),
            o.result.as_ref().err()
        );
        passed += 1;
        Ok(())
    };
    grammars(&Source::BuiltIn, &mut report).unwrap();
    assert!(passed >= 10, "only {passed} entries");
}

/// What becomes of entries of an index that lie beside copies of the built-in files they name; `file` is one of these.
fn outcomes(kind: &str, entries: &[serde_json::Value]) -> crate::error::Result<Vec<Outcome>> {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join(kind);
    std::fs::create_dir(&dir).unwrap();
    for entry in entries {
        let file = entry["file"].as_str().unwrap();
        let bytes = Source::BuiltIn.bytes(&format!("{kind}/{file}")).unwrap();
        std::fs::write(dir.join(file), bytes).unwrap();
    }
    let index = json!({ "tolerance": { "f64": 1e-6 }, "entries": entries });
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let source = Source::Folder(folder.path().to_owned());
    let mut all = Vec::new();
    let (runtime, report) = (&mut CpuRuntime::<f64>::new(), &mut |o| {
        all.push(o);
        Ok(())
    });
    match kind {
        "ops" => golden::ops(&source, runtime, Precision::F64, report)?,
        _ => golden::models(&source, runtime, Precision::F64, report)?,
    }
    Ok(all)
}

fn entry(name: &str, file: &str, attrs: serde_json::Value) -> serde_json::Value {
    json!({ "name": name, "case": "tiny", "file": format!("{file}.safetensors"), "attrs": attrs })
}

#[test]
fn options_that_are_not_there_are_refused_and_the_other_entries_run() {
    let conv = |kernel: usize| {
        entry(
            "short_conv_silu",
            "short_conv_silu.tiny",
            json!({ "kernel": kernel }),
        )
    };
    let adam = |field: &str, value: serde_json::Value| {
        let mut attrs = json!({ "lr": 0.01, "warmup": 3, "total": 10, "steps": 8, "clip": 1.0 });
        attrs[field] = value;
        entry("adam_clip_schedule", "adam_clip_schedule.main", attrs)
    };
    let refused = [
        (conv(3), "short_conv_silu: kernel = 3: allowed: 4"),
        (
            entry("mesa", "mesa.tiny", json!({ "scale": 2.0 })),
            "mesa: scale = 2: allowed: 1",
        ),
        (
            entry("mamba2_ssd", "mamba2_ssd.tiny", json!({ "ngroups": 2 })),
            "mamba2_ssd: ngroups = 2: allowed: 1",
        ),
        (
            adam("betas", json!([0.9, 0.99])),
            "adam_clip_schedule: betas = [0.9,0.99]: allowed: [0.9, 0.999]",
        ),
        (
            adam("weight_decay", json!(0.1)),
            "adam_clip_schedule: weight_decay = 0.1: allowed: [0.0]",
        ),
    ];
    let run = [
        conv(4),
        adam("betas", json!([0.9, 0.999])),
        // The width says what is not given.
        entry("attention", "attention.tiny", json!({})),
    ];
    let entries = refused.iter().map(|(entry, _)| entry.clone()).chain(run.clone());
    let all = outcomes("ops", &entries.collect::<Vec<_>>()).unwrap();
    assert_eq!(all.len(), refused.len() + run.len());
    for (outcome, (_, reason)) in all.iter().zip(&refused) {
        assert_eq!(outcome.result.as_ref().unwrap_err(), reason);
    }
    for outcome in &all[refused.len()..] {
        assert!(outcome.passed(), "{outcome:?}");
    }
}

#[test]
fn files_and_entries_that_do_not_fit_are_malformed() {
    for (entry, reason) in [
        (
            entry("gated_delta_rule", "delta_rule.tiny", json!({})),
            "gated_delta_rule g: is missing among the inputs",
        ),
        (
            entry("l2norm", "l2norm.tiny", json!({})),
            "l2norm eps: is missing among the attributes",
        ),
        (
            entry("mamba2_ssd", "attention.tiny", json!({})),
            "mamba2_ssd x: is missing among the inputs",
        ),
        (
            entry("attention", "masked_ce.tiny", json!({})),
            "attention q: is missing among the inputs",
        ),
        (
            entry(
                "adam_clip_schedule",
                "adam_clip_schedule.main",
                json!({ "lr": 0.01 }),
            ),
            "warmup: is missing among the attributes",
        ),
    ] {
        let error = outcomes("ops", std::slice::from_ref(&entry))
            .unwrap_err()
            .to_string();
        let file = format!("/ops/{}", entry["file"].as_str().unwrap());
        assert!(
            error.contains(&file) && error.ends_with(&format!(": {reason}")),
            "{error}"
        );
    }
}

/// Writes the tensors of a built-in file, one of them with another shape, and returns what becomes of the entry.
fn reshaped(file: &str, name: &str, shape: &[usize], entry: &serde_json::Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ops");
    std::fs::create_dir(&dir).unwrap();
    let bytes = Source::BuiltIn.bytes(&format!("ops/{file}.safetensors")).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let zeros = vec![0; 8 * shape.iter().product::<usize>()];
    let views = read.iter().map(|(tensor, view)| {
        if tensor != name {
            return (tensor, view);
        }
        let bytes = &zeros
            [..view.data().len() / view.shape().iter().product::<usize>() * shape.iter().product::<usize>()];
        let other = safetensors::tensor::TensorView::new(view.dtype(), shape.to_vec(), bytes);
        (tensor, other.unwrap())
    });
    let written = safetensors::serialize(views, None).unwrap();
    std::fs::write(dir.join(format!("{file}.safetensors")), written).unwrap();
    let index = json!({ "entries": [entry] });
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let source = Source::Folder(folder.path().to_owned());
    let report = &mut |o: Outcome| panic!("ran: {o:?}");
    let done = golden::ops(&source, &mut CpuRuntime::<f64>::new(), Precision::F64, report);
    let error = done.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn tensors_of_other_sizes_name_file_and_tensor() {
    for (file, tensor, shape, entry) in [
        (
            "attention.tiny",
            "input/k",
            &[1, 1, 1, 1][..],
            entry("attention", "attention.tiny", json!({})),
        ),
        (
            "attention.tiny",
            "cot/o",
            &[3][..],
            entry("attention", "attention.tiny", json!({})),
        ),
        (
            "attention.tiny",
            "output/o",
            &[3][..],
            entry("attention", "attention.tiny", json!({})),
        ),
        (
            "delta_rule.tiny",
            "input/beta",
            &[7][..],
            entry("delta_rule", "delta_rule.tiny", json!({})),
        ),
        (
            "l2norm.tiny",
            "grad/x",
            &[2, 2][..],
            entry("l2norm", "l2norm.tiny", json!({ "eps": 1e-6 })),
        ),
    ] {
        let error = reshaped(file, tensor, shape, &entry);
        let short = tensor.split_once('/').unwrap().1;
        assert!(
            error.contains(&format!("/ops/{file}.safetensors: ")) && error.contains(short),
            "{error}"
        );
    }
}

#[test]
fn a_models_entry_says_its_rotary_base() {
    let index: serde_json::Value = Source::BuiltIn.json("models/index.json").unwrap();
    let of_transformer = |e: &&serde_json::Value| e["name"] == "transformer";
    let entry = index["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(of_transformer)
        .unwrap();
    let mut other = entry.clone();
    other["config"]["rope_base"] = json!(10_000);
    let all = outcomes("models", &[entry.clone(), other]).unwrap();
    assert_eq!([all[0].passed(), all[1].passed()], [true, false]);
}

/// An index in a folder, and what reading it says.
fn refusal(kind: &str, index: &serde_json::Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(kind)).unwrap();
    std::fs::write(folder.path().join(kind).join("index.json"), index.to_string()).unwrap();
    let source = Source::Folder(folder.path().to_owned());
    let (mut runtime, report) = (CpuRuntime::<f64>::new(), &mut |o: Outcome| panic!("ran: {o:?}"));
    let done = match kind {
        "ops" => golden::ops(&source, &mut runtime, Precision::F64, report),
        "models" => golden::models(&source, &mut runtime, Precision::F64, report),
        _ => grammars(&source, report),
    };
    let error = done.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn indices_that_prove_nothing_are_malformed() {
    for kind in ["ops", "models", "grammars"] {
        for (index, why) in [
            (json!({}), "missing field `entries`"),
            (json!({ "entires": [] }), "missing field `entries`"),
            (json!({ "entries": {} }), "expected a sequence"),
            (json!({ "entries": [] }), "`entries` is empty"),
            (json!({ "entries": [7] }), "invalid type"),
        ] {
            let error = refusal(kind, &index);
            assert!(
                error.contains(why) && error.contains("index.json"),
                "{kind}: {error}"
            );
        }
    }
}

#[test]
fn fields_of_an_index_are_checked() {
    let with = |kind: &str, field: &str, value: serde_json::Value| {
        let sizes = json!({ "B": 1, "T": 2, "layers": 1, "d_model": 64, "vocab": 5, "outputs": 5 });
        let mut entry = match kind {
            "ops" => entry("l2norm", "l2norm.tiny", json!({ "eps": 1e-6 })),
            "models" => json!({ "name": "gla", "case": "tiny", "file": "a", "config": sizes }),
            _ => json!({ "file": "rng.json", "kind": "rng" }),
        };
        match field.split_once('.') {
            Some((outer, inner)) => entry[outer][inner] = value,
            None => entry[field] = value,
        }
        refusal(kind, &json!({ "entries": [entry] }))
    };
    for (kind, field) in [
        ("ops", "name"),
        ("ops", "case"),
        ("models", "name"),
        ("grammars", "kind"),
    ] {
        for value in [json!(null), json!(3), json!(["x"])] {
            let error = with(kind, field, value);
            assert!(
                error.contains("invalid type") && error.contains("a string"),
                "{error}"
            );
        }
    }
    for kind in ["ops", "models", "grammars"] {
        for file in ["", "../../x", "/etc/passwd", "a/../../b", "./"] {
            let error = with(kind, "file", json!(file));
            assert!(
                error.contains("a file below the index's folder"),
                "{file}: {error}"
            );
        }
    }
    for (field, value) in [
        ("config.layers", json!(2_147_483_647)),
        ("config.layers", json!(0)),
        ("config.d_model", json!(u64::MAX)),
        ("config.B", json!(1_u64 << 40)),
        ("config.d_state", json!(257)),
        ("config.chunk", json!(65)),
    ] {
        let error = with("models", field, value);
        assert!(error.contains("allowed: 1 to"), "{field}: {error}");
    }
    for value in [json!(-1), json!(1.5), json!("8")] {
        let error = with("models", "config.T", value);
        assert!(error.contains("invalid"), "{error}");
    }
    assert!(with("ops", "attrs", json!([])).contains("expected a map"));
    assert!(with("ops", "tolerance", json!({ "grad/x": { "f64": "1e-3" } })).contains("invalid type"));
}
