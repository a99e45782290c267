//! The device that a run computes on, and whether a graph fits it.

use crate::cpu::CpuRuntime;
use crate::error::{DeviceError, Error, Result};
#[cfg(feature = "gpu")]
use crate::gpu::GpuRuntime;
use crate::graph::Graph;
use crate::plan::{Plan, Policy, lifetimes};
use crate::runtime::{Program, Runtime};

/// Bytes of activations that one program may take on the CPU: beyond, smaller micro-batches are as fast.
const CPU_PROGRAM_BYTES: usize = 1 << 30;

/// An executor of one kind or the other.
pub enum Executor {
    /// The CPU, in f32.
    Cpu(CpuRuntime<f32>),
    /// A GPU.
    #[cfg(feature = "gpu")]
    Gpu(Box<GpuRuntime>),
}

impl Executor {
    /// The CPU.
    pub fn cpu() -> Self {
        Self::Cpu(CpuRuntime::new())
    }

    /// The executor itself.
    pub fn runtime(&mut self) -> &mut dyn Runtime {
        match self {
            Self::Cpu(runtime) => runtime,
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => &mut **runtime,
        }
    }

    /// The device in words.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(runtime) => runtime.device(),
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => runtime.device(),
        }
    }

    /// Bytes that a graph's tensors would take, the banks not included.
    pub fn planned_bytes(&self, graph: &Graph) -> usize {
        match self {
            Self::Cpu(_) => Plan::new(&lifetimes(graph).1, Policy::OneAtATime).bytes(),
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => runtime.planned_bytes(graph),
        }
    }

    /// Loads a graph, or returns the reason why it does not fit.
    ///
    /// # Errors
    /// Whatever else goes wrong.
    pub fn try_load(&mut self, graph: &Graph) -> Result<std::result::Result<Program, String>> {
        match self {
            Self::Cpu(_) => {
                let bytes = self.planned_bytes(graph);
                if bytes > CPU_PROGRAM_BYTES {
                    let most = CPU_PROGRAM_BYTES >> 20;
                    return Ok(Err(format!("{} MiB, {most} MiB at most", bytes >> 20)));
                }
            }
            #[cfg(feature = "gpu")]
            Self::Gpu(runtime) => {
                let most = runtime.gpu().caps().binding_bytes;
                let large = |id: &&crate::tensor::TensorId| graph.tensor(**id).bytes() as u64 > most;
                if let Some(id) = lifetimes(graph).0.iter().find(large) {
                    let tensor = graph.tensor(*id);
                    return Ok(Err(format!(
                        "{} takes {} MiB, a binding {} MiB at most",
                        tensor.name,
                        tensor.bytes() >> 20,
                        most >> 20
                    )));
                }
            }
        }
        match self.runtime().load(graph) {
            Ok(program) => Ok(Ok(program)),
            Err(e) if is_too_large(&e) => {
                // What was allocated in vain is freed when the device next looks.
                self.runtime().wait()?;
                Ok(Err(e.to_string()))
            }
            Err(e) => Err(e),
        }
    }
}

/// Whether a smaller graph may help.
fn is_too_large(error: &Error) -> bool {
    match error {
        Error::Device(DeviceError::Limit { .. }) => true,
        Error::Device(DeviceError::Driver { message, .. }) => message.to_lowercase().contains("memory"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::pointwise::{Function, Pointwise};
    use crate::tensor::Dtype;

    fn graph(numel: usize) -> Graph {
        let mut graph = Graph::new();
        let x = graph.input("x", &[numel], Dtype::F32);
        let y = graph
            .call(
                Pointwise {
                    numel,
                    function: Function::Sigmoid,
                    scale: 1.0,
                    offset: 0.0,
                },
                &[x],
            )
            .unwrap();
        graph.keep(y[0]);
        graph
    }

    #[test]
    fn cpu_refuses_what_exceeds_its_share() {
        let mut executor = Executor::cpu();
        assert_eq!(executor.planned_bytes(&graph(64)), 512);
        assert!(executor.try_load(&graph(64)).unwrap().is_ok());
        let reason = executor.try_load(&graph(CPU_PROGRAM_BYTES / 4)).unwrap();
        assert_eq!(reason.unwrap_err(), "2048 MiB, 1024 MiB at most");
    }

    #[test]
    fn only_size_is_a_reason_to_try_smaller() {
        let driver = |message: &str| {
            Error::from(DeviceError::Driver {
                adapter: "a".to_owned(),
                message: message.to_owned(),
            })
        };
        assert!(is_too_large(&driver("activations: Out of Memory")));
        assert!(!is_too_large(&driver("device lost: reset")));
        assert!(!is_too_large(&Error::Interrupted));
    }
}
