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
    let infos: Vec<wgpu::AdapterInfo> = all.iter().map(wgpu::Adapter::get_info).collect();
    Ok(number.and_then(|n| all.get(n)).cloned().ok_or_else(|| {
        let listed = labels(&infos).into_iter().enumerate();
        listed.map(|(i, label)| format!(", gpu:{i} ({label})")).collect()
    }))
}

/// What tells each adapter from the others: its name, and the backend and the PCI bus where others have that name too.
fn labels(infos: &[wgpu::AdapterInfo]) -> Vec<String> {
    let label = |info: &wgpu::AdapterInfo| {
        let alike = || infos.iter().filter(|other| other.name == info.name);
        let mut label = info.name.clone();
        if alike().any(|other| other.backend != info.backend) {
            label += &format!(", {:?}", info.backend);
        }
        let bus = &info.device_pci_bus_id;
        if !bus.is_empty() && alike().any(|other| other.device_pci_bus_id != *bus) {
            label += &format!(", PCI bus {bus}");
        }
        label
    };
    infos.iter().map(label).collect()
}

/// Every real GPU, as `gpu:N`, once though several backends may show it.
pub fn real() -> Vec<String> {
    // Adapters are sorted: real GPUs come first.
    let infos: Vec<wgpu::AdapterInfo> = adapters()
        .iter()
        .filter(|a| is_hardware(a))
        .map(wgpu::Adapter::get_info)
        .collect();
    cards(&infos).into_iter().map(|i| format!("gpu:{i}")).collect()
}

/// The first adapter of each card: the same PCI bus in another backend is the same card.
fn cards(infos: &[wgpu::AdapterInfo]) -> Vec<usize> {
    let is_first = |i: &usize| {
        let info = &infos[*i];
        let is_same = |other: &wgpu::AdapterInfo| {
            let bus = &info.device_pci_bus_id;
            other.backend != info.backend && !bus.is_empty() && other.device_pci_bus_id == *bus
        };
        !infos[..*i].iter().any(is_same)
    };
    (0..infos.len()).filter(is_first).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str, backend: wgpu::Backend, bus: &str) -> wgpu::AdapterInfo {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::DiscreteGpu, backend);
        info.name = name.to_owned();
        info.device_pci_bus_id = bus.to_owned();
        info
    }

    #[test]
    fn equal_cards_have_names_of_their_own() {
        let two = [
            card("H100", wgpu::Backend::Vulkan, "0000:18:00.0"),
            card("H100", wgpu::Backend::Vulkan, "0000:2a:00.0"),
            card("A2", wgpu::Backend::Vulkan, "0000:3b:00.0"),
        ];
        let expected = ["H100, PCI bus 0000:18:00.0", "H100, PCI bus 0000:2a:00.0", "A2"];
        assert_eq!(labels(&two), expected);
        assert_eq!(cards(&two), [0, 1, 2]);
    }

    #[test]
    fn a_card_of_two_backends_is_one() {
        let all = [
            card("H100", wgpu::Backend::Vulkan, "0000:18:00.0"),
            card("H100", wgpu::Backend::Vulkan, "0000:2a:00.0"),
            card("H100", wgpu::Backend::Dx12, "0000:18:00.0"),
            card("H100", wgpu::Backend::Dx12, "0000:2a:00.0"),
        ];
        assert_eq!(cards(&all), [0, 1]);
        assert_eq!(labels(&all)[3], "H100, Dx12, PCI bus 0000:2a:00.0");
        // A driver that does not tell the bus has only its number to be called by.
        let untold = [
            card("M2", wgpu::Backend::Metal, ""),
            card("M2", wgpu::Backend::Metal, ""),
        ];
        assert_eq!(cards(&untold), [0, 1]);
        assert_eq!(labels(&untold), ["M2", "M2"]);
    }
}
