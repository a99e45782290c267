//! `selectiv devices`: what there is to run on.

use super::common::{Common, Verbosity};
use super::inspect::{keep_words, ruled_table};
use super::print;
use crate::error::{Result, UserError};
use crate::train::Executor;
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `devices`.
#[derive(Debug, Clone, Args)]
pub struct DevicesArgs {
    /// Print a JSON list instead of a table
    #[arg(long)]
    pub json: bool,
    /// Measure each adapter's copy rate (read + written)
    #[arg(long)]
    pub measure: bool,
}

/// Columns that fit a terminal. PCI buses tell equal GPUs apart.
const SHORT: [&str; 7] = [
    "device",
    "name",
    "backend",
    "PCI bus",
    "largest buffer",
    "f16",
    "matrix units",
];

/// Reductions and conversions of cooperative matrices, from which further variants of kernels can be made.
#[cfg(feature = "gpu")]
const MAINTENANCE1: &std::ffi::CStr = c"VK_EXT_cooperative_matrix_maintenance1";

/// Prints every adapter, the CPU last.
///
/// # Errors
/// The driver's, with `--measure`.
pub fn run(args: &DevicesArgs, common: &Common) -> Result<()> {
    let mut devices = adapters(args.measure)?;
    devices.push(json!({
        "device": "cpu",
        "name": "CPU",
        "threads": rayon::current_num_threads(),
        "precisions": Executor::cpu().precisions(),
    }));
    if common.device != "auto" {
        let names: Vec<String> = devices
            .iter()
            .filter_map(|d| d["device"].as_str())
            .map(str::to_owned)
            .collect();
        devices.retain(|d| d["device"] == common.device);
        if devices.is_empty() {
            let (name, allowed) = (common.device.clone(), format!("auto, {}", names.join(", ")));
            return Err(UserError::Unknown {
                what: "device",
                name,
                allowed,
            }
            .into());
        }
    }
    if args.json {
        return print::result(&Value::from(devices).to_string());
    }
    let all = common.verbosity() == Verbosity::Verbose;
    let mut table = ruled_table(all);
    let columns = [
        "device",
        "name",
        "backend",
        "driver",
        "kind",
        "PCI bus",
        "memory",
        "largest buffer",
        "largest binding",
        "workgroup memory",
        "subgroups",
        "f16",
        "int64",
        "matrix units",
        "matrix shapes",
        "maintenance1",
        "copy GB/s",
    ];
    let shown = |column: &usize| {
        all || SHORT.contains(&columns[*column]) || (args.measure && column + 1 == columns.len())
    };
    let shown: Vec<usize> = (0..columns.len()).filter(shown).collect();
    table.set_header(shown.iter().map(|&column| columns[column]));
    for d in &devices {
        let text = |key: &str| match &d[key] {
            Value::Null => "-".to_owned(),
            Value::String(s) => s.clone(),
            Value::Bool(b) => if *b { "yes" } else { "no" }.to_owned(),
            other => other.to_string(),
        };
        let mib = |key: &str| {
            d[key]
                .as_u64()
                .map_or("-".to_owned(), |b| format!("{} MiB", b >> 20))
        };
        let row = [
            text("device"),
            text("name"),
            text("backend"),
            text("driver"),
            text("kind"),
            match d["pci_bus_id"].as_str() {
                None | Some("") => "-".to_owned(),
                Some(id) => id.to_owned(),
            },
            mib("memory_bytes"),
            mib("buffer_bytes"),
            mib("binding_bytes"),
            d["workgroup_bytes"]
                .as_u64()
                .map_or("-".to_owned(), |b| format!("{} KiB", b >> 10)),
            d["subgroup_min"]
                .as_u64()
                .map_or("-".to_owned(), |m| format!("{m}..{}", d["subgroup_max"])),
            text("f16"),
            text("int64"),
            text("coop"),
            d["matrix_shapes"]
                .as_array()
                .filter(|shapes| !shapes.is_empty())
                .map_or("-".to_owned(), |shapes| {
                    let shapes: Vec<&str> = shapes.iter().filter_map(Value::as_str).collect();
                    shapes.join(", ")
                }),
            text("cooperative_matrix_maintenance1"),
            d["copy_gb_s"]
                .as_f64()
                .map_or("-".to_owned(), |r| format!("{r:.0}")),
        ];
        table.add_row(shown.iter().map(|&column| row[column].clone()));
    }
    let hint = if devices.len() == 1 && common.device == "auto" {
        format!("\n{}", hint())
    } else {
        String::new()
    };
    if !all {
        keep_words(&mut table);
    }
    print::result(&format!("{table}{hint}"))
}

#[cfg(not(feature = "gpu"))]
fn adapters(_measure: bool) -> Result<Vec<Value>> {
    Ok(Vec::new())
}

#[cfg(not(feature = "gpu"))]
fn hint() -> String {
    "this build has no GPU support (built with --no-default-features)".to_owned()
}

#[cfg(feature = "gpu")]
fn hint() -> String {
    crate::gpu::adapter::no_adapter().to_string()
}

#[cfg(feature = "gpu")]
fn adapters(measure: bool) -> Result<Vec<Value>> {
    use crate::bench::copy_rate;
    use crate::gpu::{Gpu, GpuRuntime, Options, adapter};
    adapter::adapters()
        .iter()
        .enumerate()
        .map(|(i, a)| {
            let (info, caps) = (a.get_info(), adapter::caps(a));
            let mut device = json!({
                "device": format!("gpu:{i}"),
                "name": info.name,
                "backend": format!("{:?}", info.backend),
                "driver": format!("{} {}", info.driver, info.driver_info),
                "kind": format!("{:?}", info.device_type),
                "memory_bytes": caps.memory_bytes,
                "buffer_bytes": caps.buffer_bytes,
                "binding_bytes": caps.binding_bytes,
                "workgroup_bytes": caps.workgroup_bytes,
                "workgroup_threads": caps.workgroup_threads,
                "storage_bindings": caps.storage_bindings,
                "subgroup_min": caps.subgroup_min,
                "subgroup_max": caps.subgroup_max,
                "subgroups": caps.subgroups,
                "f16": caps.f16,
                "int64": caps.int64,
                "coop": caps.coop,
                "matrix_shapes": adapter::matrix_shapes(a),
                "cooperative_matrix_maintenance1": adapter::reports(a, MAINTENANCE1),
                "pci_bus_id": info.device_pci_bus_id,
                "precisions": caps.precisions(),
            });
            if measure {
                let rate = Gpu::open(a, Options::default()).and_then(|gpu| {
                    let mut executor = Executor::Gpu(Box::new(GpuRuntime::new(gpu)));
                    copy_rate(&mut executor)
                });
                match rate {
                    Ok(rate) => device["copy_gb_s"] = (rate / 1e9).into(),
                    Err(e) => device["copy_error"] = e.to_string().into(),
                }
            }
            Ok(device)
        })
        .collect()
}
