//! Which device a name means.

use super::executor::Executor;
use crate::error::{Result, UserError};

impl Executor {
    /// The device of that name: `cpu`; `gpu:N`, the adapter of that number in the order of `selectiv devices`; or `auto`,
    /// the best real GPU that works, else the CPU. `say` hears which one and why.
    ///
    /// # Errors
    /// [`UserError::Unknown`] for a device that is not there, with those that are; the driver's error if the device was
    /// asked for by name.
    pub fn open(name: &str, say: &mut dyn FnMut(&str)) -> Result<Self> {
        match name {
            "cpu" => {
                let executor = Self::cpu();
                say(&format!("device: {}", executor.name()));
                Ok(executor)
            }
            "auto" => Ok(auto(say)),
            name => named(name, say),
        }
    }
}

fn on_cpu(why: &str, say: &mut dyn FnMut(&str)) -> Executor {
    let executor = Executor::cpu();
    say(&format!("device: {}, because {why}", executor.name()));
    executor
}

#[cfg(not(feature = "gpu"))]
fn auto(say: &mut dyn FnMut(&str)) -> Executor {
    on_cpu("this build has no GPU support", say)
}

#[cfg(not(feature = "gpu"))]
fn named(name: &str, _say: &mut dyn FnMut(&str)) -> Result<Executor> {
    Err(unknown(
        name,
        "auto, cpu (this build has no GPU support)".to_owned(),
    ))
}

fn unknown(name: &str, allowed: String) -> crate::error::Error {
    UserError::Unknown {
        what: "device",
        name: name.to_owned(),
        allowed,
    }
    .into()
}

#[cfg(feature = "gpu")]
use gpu::{auto, named};

#[cfg(feature = "gpu")]
mod gpu {
    use super::{Executor, on_cpu, unknown};
    use crate::error::{DeviceError, Result};
    use crate::gpu::adapter::{adapters, is_hardware, no_adapter};
    use crate::gpu::{Gpu, GpuRuntime, Options, trusted};
    use crate::graph::Graph;
    use crate::ops::pointwise::{Function, Pointwise};
    use crate::runtime::{Data, Runtime};
    use crate::step::StepParams;
    use crate::tensor::Dtype;

    /// The best real GPU that works, else the CPU.
    pub(super) fn auto(say: &mut dyn FnMut(&str)) -> Executor {
        let all = adapters();
        if all.is_empty() {
            return on_cpu(&no_adapter().to_string(), say);
        }
        let Some(best) = all.iter().find(|a| is_hardware(a)) else {
            let names: Vec<String> = all.iter().map(|a| a.get_info().name).collect();
            let why = format!(
                "the only GPU driver computes on the CPU too ({})",
                names.join(", ")
            );
            return on_cpu(&why, say);
        };
        let opened = open(best, say).and_then(|mut executor| {
            try_out(executor.runtime(), &best.get_info().name)?;
            Ok(executor)
        });
        match opened {
            Ok(executor) => {
                say(&format!("device: {}, the best GPU here", executor.name()));
                executor
            }
            Err(e) => on_cpu(&format!("the GPU does not work: {e}"), say),
        }
    }

    /// The adapter `gpu:N`, in order of [`adapters`].
    pub(super) fn named(name: &str, say: &mut dyn FnMut(&str)) -> Result<Executor> {
        let all = adapters();
        let number = name.strip_prefix("gpu:").and_then(|n| n.parse::<usize>().ok());
        if all.is_empty() && number.is_some() {
            return Err(no_adapter().into());
        }
        let Some(adapter) = number.and_then(|n| all.get(n)) else {
            let listed = all.iter().enumerate();
            let listed = listed.map(|(i, a)| format!(", gpu:{i} ({})", a.get_info().name));
            return Err(unknown(name, format!("auto, cpu{}", listed.collect::<String>())));
        };
        let executor = open(adapter, say)?;
        say(&format!("device: {}", executor.name()));
        Ok(executor)
    }

    fn open(adapter: &wgpu::Adapter, say: &mut dyn FnMut(&str)) -> Result<Executor> {
        let gpu = trusted(Gpu::open(adapter, Options::default())?, say)?;
        Ok(Executor::Gpu(Box::new(GpuRuntime::new(gpu))))
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn cpu_is_always_there() {
        let mut said = Vec::new();
        let executor = Executor::open("cpu", &mut |text| said.push(text.to_owned())).unwrap();
        assert!(executor.name().starts_with("CPU"));
        assert_eq!(said, [format!("device: {}", executor.name())]);
    }

    #[test]
    fn unknown_devices_are_listed() {
        for name in ["tpu", "gpu", "gpu:x", "gpu0"] {
            let Err(Error::User(UserError::Unknown { what, allowed, .. })) =
                Executor::open(name, &mut |_| {})
            else {
                panic!("{name} was taken");
            };
            assert_eq!(what, "device");
            assert!(allowed.starts_with("auto, cpu"), "{allowed}");
        }
    }
}
