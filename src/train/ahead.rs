//! What the run that comes next needs of its device, made while another one trains there.

use super::session::Setup;
use crate::error::Result;
use crate::models::update_graph;
use crate::runtime::Compiler;
use crate::tasks::Split;

/// Compiles the kernels of a run's updates, evaluations and test. What does not fit or cannot be made is met again, and told,
/// when the run begins.
///
/// # Errors
/// The model's, if it cannot have these sizes; the driver's.
pub fn compile(setup: &Setup, compiler: &dyn Compiler) -> Result<()> {
    let [t, e] = setup.train_extents();
    let train = setup.model.train_net(setup.recipe.batch, t, e)?;
    compiler.compile(&train.graph)?;
    compiler.compile(&update_graph(train.graph.bank_len(), setup.model.precision)?.graph)?;
    for split in [setup.eval_split(), Split::Test] {
        let net = setup.model.eval_net(1, setup.data.max_steps(split), e)?;
        compiler.compile(&net.graph)?;
    }
    Ok(())
}
