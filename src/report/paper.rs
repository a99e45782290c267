//! The table of the paper (arXiv 2601.12598), as a review of it prints it: accuracies with their spread over seeds.

/// A value of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Printed {
    /// Accuracy, a fraction.
    pub(super) mean: f64,
    /// Its spread over seeds.
    pub(super) spread: f64,
}

/// A row: model, and `(mean, spread)` of tasks 1 to 3.
type Row = (&'static str, [(f64, f64); 3]);

const TABLE: [Row; 7] = [
    ("delta_net", [(0.50, 0.01), (0.41, 0.01), (0.35, 0.001)]),
    ("gla", [(0.75, 0.01), (0.68, 0.05), (0.50, 0.01)]),
    ("mamba", [(0.89, 0.009), (0.71, 0.01), (0.63, 0.08)]),
    ("mamba2", [(0.92, 0.007), (0.67, 0.01), (0.64, 0.01)]),
    ("gated_delta_net", [(0.87, 0.01), (0.76, 0.01), (0.57, 0.008)]),
    ("gated_delta_product", [(0.87, 0.008), (0.74, 0.02), (0.61, 0.01)]),
    ("transformer", [(0.86, 0.005), (0.77, 0.01), (0.67, 0.07)]),
];

const TASKS: [&str; 3] = ["task1", "task2", "task3"];

/// What the paper prints for a model on a task.
pub(super) fn printed(task: &str, model: &str) -> Option<Printed> {
    let task = TASKS.iter().position(|name| *name == task)?;
    let (_, values) = TABLE.iter().find(|(name, _)| *name == model)?;
    let (mean, spread) = values[task];
    Some(Printed { mean, spread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_and_tasks_are_found_by_name() {
        let found = printed("task2", "gla").unwrap();
        assert_eq!((found.mean, found.spread), (0.68, 0.05));
        assert_eq!(printed("task4", "gla"), None);
        assert_eq!(printed("task1", "s4"), None);
        for (name, _) in TABLE {
            assert!(crate::models::block(name).is_ok(), "{name}");
        }
    }
}
