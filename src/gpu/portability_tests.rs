//! Whether other compilers than the one of the machine at hand take the kernels: every distinct text that the ops' cases and
//! the models launch, in both precisions, and every shader file as it stands.

use super::lower::lower;
use crate::graph::Graph;
use crate::launch::Caps;
use crate::models::{BLOCKS, ModelConfig, update_graph};
use crate::shader::{Kernel, reflection, shader_names};
use crate::tensor::Precision;
use crate::testing::skipped;
use crate::variant::{Choice, Variant};
use naga::back::{hlsl, msl, spv};
use rayon::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Adapters that choose different variants: what WebGPU guarantees, a card with and without its matrix units, a driver that
/// computes on the CPU.
fn offers() -> [Caps; 4] {
    let plain = Caps {
        f16: true,
        ..Caps::webgpu_default()
    };
    let card = Caps {
        int64: true,
        subgroups: true,
        subgroup_min: 32,
        subgroup_max: 32,
        workgroup_bytes: 49_152,
        workgroup_threads: 1024,
        binding_bytes: 4 << 30,
        buffer_bytes: 1 << 40,
        storage_bindings: 16,
        ..plain.clone()
    };
    let units = Caps {
        coop: true,
        ..card.clone()
    };
    let software = Caps {
        software: true,
        subgroups: true,
        workgroup_bytes: 32_768,
        ..plain.clone()
    };
    [plain, card, units, software]
}

/// Graphs of each model at widths and lengths that choose different tiles.
fn model_graphs() -> Vec<Graph> {
    let mut graphs = Vec::new();
    for block in BLOCKS {
        for (d_model, classes) in [(64, 16), (256, 1000), (1024, 4096)] {
            let model = ModelConfig::new(*block, 1, d_model, classes, classes);
            let train = model.train_net(2, 100, 9).unwrap().graph;
            graphs.push(update_graph(train.bank_len(), Precision::F32).unwrap().graph);
            graphs.push(train);
            graphs.push(model.eval_net(8, 2048, 64).unwrap().graph);
            graphs.push(model.decode_net(16, 2048).unwrap().graph);
        }
    }
    graphs
}

/// Every distinct kernel, by its text, and what that parses to.
static KERNELS: LazyLock<BTreeMap<String, (Kernel, naga::Module)>> = LazyLock::new(kernels);

/// The kernels that adapters of all kinds launch for a graph, by their keys.
fn launched(graph: &Graph, variants: Option<&[Variant]>) -> BTreeMap<String, Kernel> {
    let mut by_key = BTreeMap::new();
    for caps in offers() {
        let forced: Vec<_> = match variants {
            Some(all) => all
                .iter()
                .filter(|v| caps.offers(v))
                .map(|v| Some(v.name))
                .collect(),
            None => vec![None],
        };
        for forced in forced {
            let choice = Choice {
                forced,
                ..Choice::default()
            };
            for dispatch in lower(graph, &caps, &choice).dispatches {
                by_key.entry(dispatch.kernel.key()).or_insert(dispatch.kernel);
            }
        }
    }
    by_key
}

fn kernels() -> BTreeMap<String, (Kernel, naga::Module)> {
    let of_models = model_graphs();
    let of_models = of_models.par_iter().flat_map_iter(|graph| launched(graph, None));
    let cases = crate::ops::cases::cases();
    let of_cases = cases.par_iter().flat_map_iter(|case| {
        [Precision::F32, Precision::Mixed]
            .into_iter()
            .flat_map(|precision| {
                let graph = case.graph(precision).unwrap();
                launched(&graph, Some(case.op.variants()))
            })
    });
    let mut by_key: BTreeMap<String, Kernel> = of_models.chain(of_cases).collect();
    by_key.extend(shader_names().map(|name| (name.to_owned(), Kernel::new(name))));
    let texts = by_key
        .into_values()
        .map(|kernel| (kernel.expand().unwrap(), kernel));
    let texts: BTreeMap<String, Kernel> = texts.collect();
    let parsed = texts.into_par_iter().map(|(text, kernel)| {
        let module = naga::front::wgsl::parse_str(&text).unwrap();
        (text, (kernel, module))
    });
    parsed.collect()
}

/// Namespaces of the languages that kernels are translated to, which naga does not rename.
const NAMESPACES: &[&str] = &[
    "dx",
    "hlsl",
    "vk",
    "spv",
    "std",
    "metal",
    "simd",
    "air",
    "raytracing",
];

/// Words of HLSL, MSL (which is C++14) and GLSL. naga renames most of them; a binding is better not called so.
const WORDS: &str = "
    asm cbuffer centroid class compile dword export groupshared half indices inline inout interface line lineadj linear matrix
    namespace nointerpolation noperspective packoffset pass payload pixelfragment point precise primitives register row_major
    sample sampler shared snorm static string tbuffer technique template texture triangle unorm vector vertices volatile
    access array atomic auto bool break buffer case catch char const constant constexpr continue coord decltype default delete
    device do double else enum explicit extern false float for fragment friend goto if imageblock int kernel long main mutable
    new noexcept nullptr object_data operator patch private protected public quad quadgroup return short signed sizeof struct
    switch this thread threadgroup throw true try typedef typename uint union unsigned using vertex virtual visible void while
    active attribute coherent common external filter fixed flat highp in input invariant layout lowp mediump noinline out output
    partition precision readonly resource restrict smooth subroutine superp uniform varying writeonly";

/// DXC takes a binding `dx` for its namespace of that name.
#[test]
fn no_name_is_taken_in_another_language() {
    let mut wrong = BTreeMap::new();
    for (kernel, module) in KERNELS.values() {
        for (_, variable) in module
            .global_variables
            .iter()
            .filter(|(_, v)| v.binding.is_some())
        {
            let name = variable.name.clone().unwrap_or_default();
            if WORDS.split_whitespace().any(|word| word == name.to_lowercase()) {
                wrong.insert(name, kernel.path);
            }
        }
        let variables = module.global_variables.iter().map(|(_, v)| &v.name);
        let functions = module.functions.iter().map(|(_, f)| &f.name);
        let constants = module.constants.iter().map(|(_, c)| &c.name);
        let types = module.types.iter().map(|(_, t)| &t.name);
        for name in variables.chain(functions).chain(constants).chain(types).flatten() {
            if NAMESPACES.contains(&name.as_str()) || name.starts_with("gl_") || name.contains("__") {
                wrong.insert(name.clone(), kernel.path);
            }
        }
    }
    assert!(wrong.is_empty(), "names and a kernel that has each: {wrong:?}");
}

/// naga's writers for Vulkan, Metal and DX12 take every text.
#[test]
fn every_text_is_translated() {
    assert!(KERNELS.len() > 1000, "only {} texts", KERNELS.len());
    let failures: Vec<String> = KERNELS
        .par_iter()
        .flat_map_iter(|(text, (kernel, module))| {
            let failed = translations(text, module, kernel.entry()).into_iter();
            failed.map(|(language, e)| format!("{} to {language}: {e}", kernel.key()))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} failures: {:#?}",
        failures.len(),
        &failures[..failures.len().min(20)]
    );
}

/// The languages that a text cannot be translated to, and why.
fn translations(text: &str, module: &naga::Module, entry: &str) -> Vec<(&'static str, String)> {
    let coop = text.contains("coop_mat");
    let subgroups = ["subgroupShuffle", "subgroupMax"]
        .iter()
        .any(|call| text.contains(call));
    let int64 = text.contains("u64");
    let (flags, stage) = (naga::valid::ValidationFlags::all(), naga::ShaderStage::Compute);
    let capabilities = if coop {
        naga::valid::Capabilities::all()
    } else {
        // What WebGPU has, with 16-bit floats, and subgroups and 64-bit integers where the text asks for them.
        let mut all = naga::valid::Capabilities::SHADER_FLOAT16;
        all.set(naga::valid::Capabilities::SUBGROUP, subgroups);
        all.set(naga::valid::Capabilities::SHADER_INT64, int64);
        all
    };
    let info = match naga::valid::Validator::new(flags, capabilities).validate(module) {
        Ok(info) => info,
        Err(e) => return vec![("WGSL without extensions", e.emit_to_string(text))],
    };
    let mut failed = Vec::new();
    let options = spv::Options {
        lang_version: if coop { (1, 6) } else { (1, 3) },
        fake_missing_bindings: true,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions {
        shader_stage: stage,
        entry_point: entry.to_owned(),
    };
    if let Err(e) = spv::write_vec(module, &info, &options, Some(&pipeline)) {
        failed.push(("SPIR-V", e.to_string()));
    }
    let options = msl::Options {
        lang_version: if coop { (3, 0) } else { (2, 2) },
        ..msl::Options::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((stage, entry.to_owned())),
        ..msl::PipelineOptions::default()
    };
    match msl::write_string(module, &info, &options, &pipeline) {
        Ok((_, written)) => {
            let refused = written.entry_point_names.into_iter().filter_map(Result::err);
            failed.extend(refused.map(|e| ("MSL", e.to_string())));
        }
        Err(e) => failed.push(("MSL", e.to_string())),
    }
    // No matrix units there: the variants with them are chosen on Vulkan alone.
    for shader_model in [hlsl::ShaderModel::V5_1, hlsl::ShaderModel::V6_6] {
        let old = shader_model == hlsl::ShaderModel::V5_1;
        if coop || old && (subgroups || text.contains("enable f16")) {
            continue;
        }
        let options = hlsl::Options {
            shader_model,
            special_constants_binding: Some(hlsl::BindTarget::default()),
            ..hlsl::Options::default()
        };
        let pipeline = hlsl::PipelineOptions {
            entry_point: Some((stage, entry.to_owned())),
        };
        let mut out = String::new();
        if let Err(e) = hlsl::Writer::new(&mut out, &options, &pipeline).write(module, &info, None) {
            failed.push(("HLSL", e.to_string()));
        }
    }
    failed
}

/// Dawn's package for Node, `npm install webgpu`: in `node_modules` of this folder, or where `SELECTIV_DAWN` says.
fn dawn() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/webgpu");
    let package = std::env::var_os("SELECTIV_DAWN").map_or(here, PathBuf::from);
    let node = Command::new("node")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    (package.join("index.js").exists() && node.is_ok_and(|status| status.success())).then_some(package)
}

/// Texts that one process of Dawn compiles: past some hundred its binding may crash.
const TEXTS: usize = 200;

/// Tint, the compiler of Chrome, takes every text without matrix units, whose extension of WGSL is wgpu's own, and without
/// subgroups, which naga does not let a text enable. It needs to prove that control flow around barriers is uniform; naga
/// does not.
#[test]
fn every_text_passes_tint() {
    let Some(package) = dawn() else {
        skipped("every_text_passes_tint", "no node, or no package `webgpu`");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/tint.mjs");
    let kernels: Vec<(&String, &Kernel)> = KERNELS
        .iter()
        .map(|(text, (kernel, _))| (text, kernel))
        .filter(|(text, _)| !text.contains("coop_mat") && !text.contains("subgroupShuffle"))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let mut refused = Vec::new();
    for some in kernels.chunks(TEXTS) {
        let entry = |(text, kernel): &(&String, &Kernel)| {
            let found = reflection(kernel).unwrap();
            let bindings = found
                .bindings
                .iter()
                .map(|b| json!({ "binding": b.index, "uniform": b.uniform }));
            json!({
                "key": kernel.key(),
                "entry": kernel.entry(),
                "bindings": bindings.collect::<Vec<_>>(),
                "f16": text.contains("enable f16"),
                "code": text,
            })
        };
        let file = dir.path().join("texts.json");
        fs::write(&file, Json::from_iter(some.iter().map(entry)).to_string()).unwrap();
        let output = Command::new("node")
            .arg(&script)
            .args([&package, &file])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
        let list: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
        refused.extend(list);
    }
    assert!(
        refused.is_empty(),
        "{} of {} texts are refused: {:#?}",
        refused.len(),
        kernels.len(),
        &refused[..refused.len().min(40)]
    );
}
