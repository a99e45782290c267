//! Which device a name means.

use super::executor::Executor;
use crate::error::{Result, UserError};
#[cfg(feature = "gpu")]
use crate::gpu::choice;

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

/// The devices that a list of names means: `auto`, all real GPUs of the machine, else the CPU; or names with commas between.
///
/// # Errors
/// [`UserError::Unknown`] for a device that is not there, with those that are.
pub fn device_names(list: &str) -> Result<Vec<String>> {
    if list == "auto" {
        return Ok(all_gpus());
    }
    let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    for name in names.iter().filter(|name| *name != "cpu") {
        look_for(name)?;
    }
    Ok(names)
}

#[cfg(not(feature = "gpu"))]
fn all_gpus() -> Vec<String> {
    vec!["cpu".to_owned()]
}

#[cfg(not(feature = "gpu"))]
fn look_for(name: &str) -> Result<()> {
    named(name, &mut |_| {}).map(drop)
}

#[cfg(feature = "gpu")]
fn all_gpus() -> Vec<String> {
    let all = choice::real();
    // A single one is opened as any command opens it: if it does not work, the CPU takes its place.
    if all.len() < 2 {
        vec!["auto".to_owned()]
    } else {
        all
    }
}

#[cfg(feature = "gpu")]
fn look_for(name: &str) -> Result<()> {
    choice::find(name)?
        .map(drop)
        .map_err(|others| unknown(name, format!("auto, cpu{others}")))
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

/// The best real GPU that works, else the CPU.
#[cfg(feature = "gpu")]
fn auto(say: &mut dyn FnMut(&str)) -> Executor {
    match choice::best(say) {
        Ok(runtime) => {
            let executor = Executor::Gpu(Box::new(runtime));
            say(&format!("device: {}, the best GPU here", name_and_bus(&executor)));
            executor
        }
        Err(why) => on_cpu(&why, say),
    }
}

#[cfg(feature = "gpu")]
fn named(name: &str, say: &mut dyn FnMut(&str)) -> Result<Executor> {
    let runtime = choice::named(name, say)?.map_err(|others| unknown(name, format!("auto, cpu{others}")))?;
    let executor = Executor::Gpu(Box::new(runtime));
    say(&format!("device: {}", name_and_bus(&executor)));
    Ok(executor)
}

/// The PCI bus says which of several equal GPUs it is.
#[cfg(feature = "gpu")]
fn name_and_bus(executor: &Executor) -> String {
    let bus = match executor {
        Executor::Gpu(runtime) => runtime.gpu().info().device_pci_bus_id,
        Executor::Cpu(_) => String::new(),
    };
    match bus.is_empty() {
        true => executor.name(),
        false => format!("{}, PCI bus {bus}", executor.name()),
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
