//! Weights out of one run and into another, on the CPU.

use assert_cmd::Command;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// Task 1 made tiny: a run takes about a second.
const TASK: &str = "
[grammar]
vocab = 9
ambiguities = 6
depth = 4

[data]
length = 12
train = 120
validation = 12
test = 40

[model]
d_model = 16
layers = 2
heads = 2
chunk = 16
householder = 3

[train]
batch = 12
lr = 0.01
warmup = 2
";

/// The bytes of a number in some type.
type Store = fn(f32) -> Vec<u8>;

/// A tensor of a file: name, type, shape, bytes.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

struct Place {
    dir: TempDir,
}

impl Place {
    /// A folder with the task in it.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tiny.toml"), TASK).unwrap();
        Self { dir }
    }

    /// The same with a short run of a model in `run` and its weights in `weights.safetensors`.
    fn trained(model: &str) -> Self {
        let place = Self::new();
        let train = [
            "train",
            "tiny.toml",
            "--model",
            model,
            "--device",
            "cpu",
            "--out",
            "run",
        ];
        place.selectiv(&train).assert().success();
        place
            .selectiv(&["weights", "export", "run", "weights.safetensors"])
            .assert()
            .success();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn selectiv(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("selectiv").unwrap();
        // Without this some GPU drivers print an error line of their own.
        command
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path());
        command.args(args);
        command
    }

    fn import(&self, file: &str, model: &str, out: &str) -> Command {
        let args = [
            "weights",
            "import",
            file,
            "--model",
            model,
            "--task",
            "tiny.toml",
            "--out",
            out,
        ];
        self.selectiv(&args)
    }

    /// Loss and accuracy of a run's test, and the updates before it.
    fn eval(&self, run: &str) -> (Value, Value, Value) {
        let output = self
            .selectiv(&["eval", run, "--json", "--device", "cpu"])
            .assert()
            .success()
            .get_output()
            .clone();
        let lines: Value = serde_json::from_slice(&output.stdout).unwrap();
        let line = &lines[0];
        (
            line["loss"].clone(),
            line["accuracy"].clone(),
            line["step"].clone(),
        )
    }

    fn read(&self, file: &str) -> Vec<Stored> {
        let bytes = fs::read(self.path(file)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<Stored> = file
            .iter()
            .map(|(name, t)| (name.to_owned(), t.dtype(), t.shape().to_vec(), t.data().to_vec()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn write(&self, file: &str, tensors: &[Stored]) {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        fs::write(self.path(file), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    /// Standard error of a command that must be refused.
    fn refused(&self, command: &mut Command) -> String {
        let output = command.assert().code(2).get_output().clone();
        assert!(output.stdout.is_empty(), "a refusal prints no result");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn numbers(data: &[u8]) -> Vec<f32> {
    data.as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

/// A number that has an IEEE half, not a subnormal one.
fn f16(v: f32) -> u16 {
    let bits = v.to_bits();
    let size = bits & 0x7fff_ffff;
    let half = if size == 0 { 0 } else { (size - (112 << 23)) >> 13 };
    (bits >> 16) as u16 & 0x8000 | half as u16
}

#[test]
fn a_run_goes_out_and_comes_back_with_the_same_numbers() {
    for model in ["delta_net", "gated_delta_product", "transformer"] {
        let place = Place::trained(model);
        place
            .import("weights.safetensors", model, "again")
            .assert()
            .success();
        let (loss, accuracy, step) = place.eval("run");
        assert_eq!(step, 10, "{model}");
        assert_eq!(place.eval("again"), (loss, accuracy, 0.into()), "{model}");
    }
}

#[test]
fn names_and_shapes_are_those_of_the_reference() {
    let place = Place::trained("gated_delta_product");
    let tensors = place.read("weights.safetensors");
    let shape = |name: &str| &tensors.iter().find(|t| t.0 == name).unwrap().2;
    assert_eq!(*shape("encoder.weight"), [16, 9]);
    assert_eq!(*shape("layers.1.k_conv1d.weight"), [3 * 16, 1, 4]);
    assert_eq!(*shape("layers.0.v_proj.weight"), [3 * 32, 16]);
    assert_eq!(*shape("layers.1.b_proj.weight"), [3 * 2, 16]);
    assert_eq!(*shape("norms.1.bias"), [16]);
    assert_eq!(tensors.len(), 4 + 2 * (13 + 2));
}

#[test]
fn other_types_of_numbers_are_widened_exactly() {
    let place = Place::trained("delta_net");
    let tensors = place.read("weights.safetensors");
    // Numbers that every type can hold: up to 11 bits for F16, 8 for BF16.
    let rounded = |bits: i32| -> Vec<Stored> {
        let unit = 2f32.powi(bits);
        let round = |v: f32| ((v * unit).round() / unit).clamp(-1.0, 1.0);
        let data = |d: &[u8]| {
            numbers(d)
                .into_iter()
                .flat_map(|v| round(v).to_le_bytes())
                .collect()
        };
        let one = |t: &Stored| (t.0.clone(), t.1, t.2.clone(), data(&t.3));
        tensors.iter().map(one).collect()
    };
    let types: [(Dtype, i32, Store); 3] = [
        (Dtype::F64, 10, |v| f64::from(v).to_le_bytes().to_vec()),
        (Dtype::F16, 10, |v| f16(v).to_le_bytes().to_vec()),
        (Dtype::BF16, 7, |v| {
            ((v.to_bits() >> 16) as u16).to_le_bytes().to_vec()
        }),
    ];
    for (dtype, bits, store) in types {
        let wide = rounded(bits);
        place.write("wide.safetensors", &wide);
        let stored: Vec<Stored> = wide
            .iter()
            .map(|(name, _, shape, data)| {
                let data = numbers(data).into_iter().flat_map(store).collect();
                (name.clone(), dtype, shape.clone(), data)
            })
            .collect();
        place.write("narrow.safetensors", &stored);
        let [a, b] = ["wide", "narrow"].map(|name| {
            let out = format!("{name}-{dtype:?}");
            place
                .import(&format!("{name}.safetensors"), "delta_net", &out)
                .assert()
                .success();
            place.eval(&out)
        });
        assert_eq!(a, b, "{dtype:?}");
    }
}

#[test]
fn every_wrong_tensor_is_named_and_nothing_written() {
    let place = Place::trained("delta_net");
    let mut tensors = place.read("weights.safetensors");
    tensors.retain(|t| t.0 != "layers.0.b_proj.weight");
    for t in &mut tensors {
        match t.0.as_str() {
            "layers.1.q_conv1d.weight" => t.2 = vec![16, 4],
            "encoder.bias" => t.1 = Dtype::I32,
            "norms.0.weight" => t.3[4..8].copy_from_slice(&f32::NAN.to_le_bytes()),
            _ => {}
        }
    }
    for name in ["layers.2.q_proj.weight", "adam_m.encoder.bias"] {
        tensors.push((name.to_owned(), Dtype::F32, vec![1], vec![0; 4]));
    }
    place.write("wrong.safetensors", &tensors);
    let said = place.refused(&mut place.import("wrong.safetensors", "delta_net", "out"));
    for line in [
        "encoder.bias is I32: allowed: F64, F32, F16, BF16",
        "layers.0.b_proj.weight is missing; its shape is [2, 16]",
        "layers.1.q_conv1d.weight has shape [16, 4], not [16, 1, 4]",
        "norms.0.weight is not finite in f32 at element 1",
        "adam_m.encoder.bias is not a parameter of this model",
        "layers.2.q_proj.weight is not a parameter of this model",
    ] {
        assert!(said.contains(line), "{line} is missing in: {said}");
    }
    assert_eq!(said.lines().count(), 1 + 6, "{said}");
    assert!(!place.path("out").exists());
}

#[test]
fn refuses_sizes_files_and_folders_that_do_not_fit() {
    let place = Place::trained("delta_net");
    let mut wider = place.import("weights.safetensors", "delta_net", "out");
    let said = place.refused(wider.args(["--d-model", "32"]));
    assert!(
        said.contains("encoder.weight has shape [16, 9], not [32, 9]"),
        "{said}"
    );
    let mut deeper = place.import("weights.safetensors", "delta_net", "out");
    let said = place.refused(deeper.args(["--layers", "3", "--set", "model.heads=4"]));
    assert!(said.contains("layers.2.o_proj.weight is missing"), "{said}");
    assert!(
        said.contains("layers.0.b_proj.weight has shape [2, 16], not [4, 16]"),
        "{said}"
    );

    let said = place.refused(&mut place.import("weights.safetensors", "delta_net", "run"));
    assert!(said.contains("run: is not empty; choose another --out"), "{said}");
    let said = place.refused(&mut place.import("none.safetensors", "delta_net", "out"));
    assert!(
        said.contains("none.safetensors: cannot read these weights"),
        "{said}"
    );
    let said = place.refused(&mut place.import("tiny.toml", "delta_net", "out"));
    assert!(said.contains("tiny.toml: not a safetensors file"), "{said}");
    let said = place.refused(&mut place.import("weights.safetensors", "lstm", "out"));
    assert!(said.contains("unknown model `lstm`"), "{said}");
    assert!(!place.path("out").exists());

    let mut nowhere = place.selectiv(&["weights", "export", "nowhere", "out.safetensors"]);
    let said = place.refused(&mut nowhere);
    assert!(said.contains("nowhere: holds no run"), "{said}");
    assert!(!place.path("out.safetensors").exists());
}
