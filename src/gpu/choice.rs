//! Which GPU a name means, and whether it works.

use super::adapter::{adapters, is_hardware, no_adapter};
use super::device::{Gpu, Options};
use super::runtime::GpuRuntime;
use super::selftest::trusted;
use crate::error::{DeviceError, Result};
use crate::graph::Graph;
use crate::ops::pointwise::{Function, Pointwise};
use crate::runtime::{Data, Runtime};
use crate::step::StepParams;
use crate::tensor::Dtype;

/// The best real GPU, once it has run a small kernel; or why there is none that works, in words. `say` hears about
/// matrix units that are not used.
///
/// # Errors
/// The reason, to follow "because".
pub fn best(say: &mut dyn FnMut(&str)) -> std::result::Result<GpuRuntime, String> {
    let all = adapters();
    if all.is_empty() {
        return Err(no_adapter().to_string());
    }
    let Some(best) = all.iter().find(|a| is_hardware(a)) else {
        let names: Vec<String> = all.iter().map(|a| a.get_info().name).collect();
        return Err(format!(
            "the only GPU driver computes on the CPU too ({})",
            names.join(", ")
        ));
    };
    let opened = open(best, say).and_then(|mut runtime| {
        try_out(&mut runtime, &best.get_info().name)?;
        Ok(runtime)
    });
    opened.map_err(|e| format!("the GPU does not work: {e}"))
}

/// The adapter `gpu:N`, in order of [`adapters`]; or, for another name, those that are there, each after a comma.
///
/// # Errors
/// [`DeviceError::NoAdapter`] if there is none at all, [`DeviceError::Driver`] if it cannot be opened.
pub fn named(name: &str, say: &mut dyn FnMut(&str)) -> Result<std::result::Result<GpuRuntime, String>> {
    match find(name)? {
        Ok(adapter) => open(&adapter, say).map(Ok),
        Err(others) => Ok(Err(others)),
    }
}

/// The adapter `gpu:N`, not opened; or, for another name, those that are there, each after a comma.
///
/// # Errors
/// [`DeviceError::NoAdapter`] if there is none at all.
pub fn find(name: &str) -> Result<std::result::Result<wgpu::Adapter, String>> {
    let all = adapters();
    let number = name.strip_prefix("gpu:").and_then(|n| n.parse::<usize>().ok());
    if all.is_empty() && number.is_some() {
        return Err(no_adapter().into());
    }
    Ok(number.and_then(|n| all.get(n)).cloned().ok_or_else(|| {
        let listed = all.iter().enumerate();
        listed
            .map(|(i, a)| format!(", gpu:{i} ({})", a.get_info().name))
            .collect()
    }))
}

/// Every real GPU, as `gpu:N`, once though several backends may show it.
pub fn real() -> Vec<String> {
    let all = adapters();
    let infos: Vec<wgpu::AdapterInfo> = all
        .iter()
        .filter(|a| is_hardware(a))
        .map(wgpu::Adapter::get_info)
        .collect();
    let is_first = |i: &usize| {
        let info = &infos[*i];
        let is_same = |other: &wgpu::AdapterInfo| {
            let bus = &info.device_pci_bus_id;
            other.backend != info.backend && !bus.is_empty() && other.device_pci_bus_id == *bus
        };
        !infos[..*i].iter().any(is_same)
    };
    // Adapters are sorted: real GPUs come first.
    (0..infos.len())
        .filter(is_first)
        .map(|i| format!("gpu:{i}"))
        .collect()
}

fn open(adapter: &wgpu::Adapter, say: &mut dyn FnMut(&str)) -> Result<GpuRuntime> {
    Ok(GpuRuntime::new(trusted(
        Gpu::open(adapter, Options::default())?,
        say,
    )?))
}

/// Runs one small kernel: some drivers open and then fail at the first command.
fn try_out(runtime: &mut dyn Runtime, name: &str) -> Result<()> {
    let mut graph = Graph::new();
    let x = graph.input("x", &[64], Dtype::F32);
    let y = graph.call(
        Pointwise {
            numel: 64,
            function: Function::Sigmoid,
            scale: 1.0,
            offset: 0.0,
        },
        &[x],
    )?[0];
    graph.keep(y);
    let program = runtime.load(&graph)?;
    runtime.write(program, x, Data::F32(&[0.0; 64]))?;
    runtime.run(program, &StepParams::eval(1))?;
    let values = runtime.read(program, y)?;
    runtime.reset();
    if values.iter().all(|v| (v - 0.5).abs() < 1e-6) {
        return Ok(());
    }
    Err(DeviceError::Driver {
        adapter: name.to_owned(),
        message: format!("it computes sigma(0) = {}", values[0]),
    }
    .into())
}
