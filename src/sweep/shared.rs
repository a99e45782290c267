//! What several runs of a sweep have in common, made once.

use crate::config::Config;
use crate::error::Result;
use crate::models::ModelConfig;
use crate::tasks::DataSet;
use crate::train::setup;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Data sets and models that several runs share, made once.
#[derive(Default)]
pub(super) struct Shared {
    data: Mutex<HashMap<String, Arc<DataSet>>>,
    sizes: Mutex<HashMap<String, [usize; 2]>>,
}

impl Shared {
    /// The samples of a configuration.
    ///
    /// # Errors
    /// Those of [`setup::data_set`].
    pub(super) fn data(&self, config: &Config) -> Result<Arc<DataSet>> {
        let key = data_key(config);
        if let Some(data) = lock(&self.data).get(&key) {
            return Ok(Arc::clone(data));
        }
        let data = Arc::new(setup::data_set(config)?);
        lock(&self.data).insert(key, Arc::clone(&data));
        Ok(data)
    }

    /// Parameters and bytes of state of a model.
    pub(super) fn sizes(&self, model: &ModelConfig, steps: usize) -> Result<[usize; 2]> {
        let key = format!("{model:?} {steps}");
        if let Some(sizes) = lock(&self.sizes).get(&key) {
            return Ok(*sizes);
        }
        let sizes = [model.param_count()?, state_bytes(model, steps)?];
        lock(&self.sizes).insert(key, sizes);
        Ok(sizes)
    }
}

/// A lock under which nothing panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while holding it")
}

/// What decides the samples of a run.
pub(super) fn data_key(config: &Config) -> String {
    let (grammar, data) = (to_toml(&config.grammar), to_toml(&config.data));
    format!("{grammar}\n{data}\n{}", config.train.seed)
}

/// A part of a configuration as text: equal for equal ones.
pub(super) fn to_toml(part: &impl Serialize) -> String {
    toml::to_string(part).expect("numbers, strings and UTF-8 paths have a TOML form")
}

/// Bytes that one sequence's state takes after so many steps, token by token.
///
/// # Errors
/// The model's, where it cannot decode.
pub fn state_bytes(model: &ModelConfig, steps: usize) -> Result<usize> {
    let net = model.decode_net(1, steps)?;
    Ok(net.graph.states().map(|(_, tensor)| tensor.bytes()).sum())
}
