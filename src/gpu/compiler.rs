//! Kernels made before the graph that needs them is loaded, while the device works on others.

use super::device::Gpu;
use super::lower::lower;
use super::pipeline::Pipeline;
use crate::error::Result;
use crate::graph::Graph;
use crate::runtime::Compiler;
use crate::shader::Kernel;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// Makes the kernels of one device.
pub(super) struct KernelCompiler {
    gpu: Arc<Gpu>,
    kernels: Mutex<Kernels>,
}

#[derive(Default)]
struct Kernels {
    /// Keys of all that were made or are being made.
    known: HashSet<String>,
    /// Those that nobody has taken yet.
    ready: HashMap<String, Pipeline>,
}

impl KernelCompiler {
    pub(super) fn new(gpu: Arc<Gpu>) -> Self {
        let kernels = Mutex::default();
        Self { gpu, kernels }
    }

    fn lock(&self) -> MutexGuard<'_, Kernels> {
        self.kernels.lock().expect("nothing panics while holding it")
    }

    /// A kernel that was made ahead, or a new one. One that is being made ahead at this moment is made twice.
    pub(super) fn take(&self, kernel: &Kernel) -> Result<Pipeline> {
        let ready = {
            let mut kernels = self.lock();
            let key = kernel.key();
            let ready = kernels.ready.remove(&key);
            kernels.known.insert(key);
            ready
        };
        ready.map_or_else(|| Pipeline::new(&self.gpu, kernel), Ok)
    }
}

impl Compiler for KernelCompiler {
    fn compile(&self, graph: &Graph) -> Result<()> {
        for dispatch in lower(graph, &self.gpu.caps, &self.gpu.choice()).dispatches {
            let key = dispatch.kernel.key();
            if self.lock().known.insert(key.clone()) {
                let made = Pipeline::new(&self.gpu, &dispatch.kernel)?;
                self.lock().ready.insert(key, made);
            }
        }
        Ok(())
    }
}
