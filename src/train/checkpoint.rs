//! Checkpoints: weights, Adam's moments and counters in one safetensors file that is whole or refused.
//!
//! File      `checkpoint-<step, 8 digits>.safetensors` in the run's folder. Tensors, all F32, in bank order: each
//!           parameter under the reference's name (`encoder.weight`), then all first moments (`adam_m.` before the
//!           name), then all second ones (`adam_v.`). `__metadata__`: `checksum`, `format`, `step`, `config_hash`, and
//!           `state`, the caller's counters as JSON. Any safetensors reader opens it.
//! Checksum  blake3 of the whole file with the checksum's own 64 digits as zeros: names, shapes and counters are
//!           covered as well as data.
//!
//! What survives. [`save`] writes to a hidden sibling, flushes it, renames it, flushes the folder, and only then
//! deletes older files, so at every moment the last complete checkpoint lies in the folder.
//! - Killed (`kill -9`, out of memory, a crash) on any system: nothing that [`save`] returned from is lost. A save in
//!   progress is lost as a whole; its sibling is removed by the next save.
//! - Power cut on Linux with a local file system: the same, since data, rename and folder are flushed with `fsync`.
//! - Power cut on macOS: the same; the standard library flushes the drive's own cache too (`F_FULLFSYNC`).
//! - Power cut on Windows: the data is flushed (`FlushFileBuffers`), the rename rests on NTFS's journal, which a
//!   program cannot flush by folder: the newest checkpoint may be missing, the one before it is then still there.
//! - Network file systems, and drives that report a flush they did not do: no promise. A damaged file is noticed by its
//!   checksum and the one before it is taken.

#[cfg(test)]
mod tests;

use super::records::atomic;
use crate::error::{Error, Result, UserError};
use crate::files;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Version of the layout that is described above.
const FORMAT: &str = "1";
/// Checkpoints that stay in the folder.
const KEPT: usize = 2;
/// What a header starts with: the checksum stands at one place in every file.
const HEADER_START: &str = r#"{"__metadata__":{"checksum":""#;
/// Bytes of the header's length, in front of the header.
const LENGTH_BYTES: usize = 8;
/// Hex digits of a checksum.
const DIGITS: usize = 64;
/// First byte of the checksum's digits.
const CHECKSUM_AT: usize = LENGTH_BYTES + HEADER_START.len();
/// Name prefixes of the three banks.
const BANKS: [&str; 3] = ["", "adam_m.", "adam_v."];

/// Everything that a run needs to go on as if it had not stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Updates done.
    pub step: u64,
    /// Name, shape and values of each parameter, in bank order.
    pub params: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Adam's first moment of each parameter.
    pub moment1: Vec<Vec<f32>>,
    /// Adam's second moment of each parameter.
    pub moment2: Vec<Vec<f32>>,
    /// Fingerprint of the run's configuration.
    pub config_hash: String,
    /// The training loop's counters, such as the best validation accuracy. Integers, strings and f32 values come back
    /// exactly; an f64 may lose its last bit unless `serde_json` is built with `float_roundtrip`.
    pub state: serde_json::Value,
}

/// Writes a checkpoint into the run's folder and returns its path. Then deletes the others there but the newest one
/// before this step: older ones, and later ones, which belong to a course that this run has left.
///
/// # Errors
/// [`Error::Io`]; the checkpoints that were there are untouched then.
///
/// # Panics
/// If a moment or a shape does not have its parameter's number of values.
pub fn save(dir: &Path, checkpoint: &Checkpoint) -> Result<PathBuf> {
    save_through(dir, checkpoint, |file| file)
}

fn save_through<W: Write>(
    dir: &Path,
    checkpoint: &Checkpoint,
    wrap: impl FnOnce(File) -> W,
) -> Result<PathBuf> {
    atomic::remove_stale(dir, ".checkpoint-");
    let path = dir.join(format!("checkpoint-{:08}.safetensors", checkpoint.step));
    let mut head = header(checkpoint);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head);
    write_data(checkpoint, &mut hasher).expect("a hasher takes every byte");
    let digits = hasher.finalize().to_hex();
    head[CHECKSUM_AT..CHECKSUM_AT + DIGITS].copy_from_slice(digits.as_bytes());

    if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        // No file can take the place of a folder, which may be somebody's.
        std::fs::rename(&path, files::beside(&path)).map_err(|source| Error::Io {
            action: "rename",
            path: path.clone(),
            source,
        })?;
    }
    atomic::replace_through(&path, wrap, |out| {
        out.write_all(&head)?;
        write_data(checkpoint, out)
    })?;
    let (past, future): (Vec<_>, Vec<_>) = list(dir)?
        .into_iter()
        .partition(|(step, _)| *step <= checkpoint.step);
    for (_, old) in past.into_iter().skip(KEPT).chain(future) {
        // The new checkpoint is safe; a file that another program holds open is tried again by the next save.
        let _ = std::fs::remove_file(old);
    }
    Ok(path)
}

/// Removes the checkpoints of a folder but the newest so many. What cannot be removed stays.
pub fn remove_all_but(dir: &Path, kept: usize) {
    for (_, path) in list(dir).unwrap_or_default().into_iter().skip(kept) {
        let _ = std::fs::remove_file(path);
    }
}

/// The newest whole checkpoint of a run's folder, with a warning for each newer file that was refused or cannot be
/// read. `None` if the folder has no checkpoint.
///
/// # Errors
/// If there are checkpoints and none is whole: [`UserError::Folder`], or the first [`Error::Io`] if one cannot be read.
pub fn latest(dir: &Path) -> Result<Option<(Checkpoint, Vec<String>)>> {
    let mut warnings = Vec::new();
    let mut unread = None;
    for (_, path) in list(dir)? {
        match load(&path) {
            Ok(checkpoint) => return Ok(Some((checkpoint, warnings))),
            Err(error) => {
                warnings.push(error.to_string());
                if matches!(error, Error::Io { .. }) {
                    unread.get_or_insert(error);
                }
            }
        }
    }
    if let Some(error) = unread {
        return Err(error);
    }
    if warnings.is_empty() {
        return Ok(None);
    }
    let reason = format!("every checkpoint is damaged: {}", warnings.join("; "));
    let path = dir.to_owned();
    Err(UserError::Folder { path, reason }.into())
}

/// Reads one checkpoint.
///
/// # Errors
/// [`UserError::Malformed`] if it is damaged or not a checkpoint, [`Error::Io`] if it cannot be read.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let bytes = files::read_large(path, 2).map_err(|source| Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    parse(&bytes).map_err(|message| {
        let place = path.display().to_string();
        UserError::Malformed { place, message }.into()
    })
}

/// The checkpoints of a folder with their steps, newest first.
fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let failed = |source| Error::Io {
        action: "list",
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name
            .strip_prefix("checkpoint-")
            .and_then(|n| n.strip_suffix(".safetensors"));
        if let Some(step) = step.and_then(|digits| digits.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The values of each tensor of the file, with the bank's prefix, in order.
fn tensors(checkpoint: &Checkpoint) -> impl Iterator<Item = (&'static str, usize, &[f32])> {
    let bank = move |b: usize, i: usize| match b {
        0 => checkpoint.params[i].2.as_slice(),
        1 => &checkpoint.moment1[i],
        _ => &checkpoint.moment2[i],
    };
    (0..BANKS.len()).flat_map(move |b| (0..checkpoint.params.len()).map(move |i| (BANKS[b], i, bank(b, i))))
}

/// The header's length and the header, with zeros for the checksum, padded to 8 bytes.
fn header(checkpoint: &Checkpoint) -> Vec<u8> {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let mut head = format!(
        r#"{HEADER_START}{:0DIGITS$}","format":"{FORMAT}","step":"{}","config_hash":{},"state":{}}}"#,
        0,
        checkpoint.step,
        json(&checkpoint.config_hash),
        json(&checkpoint.state.to_string()),
    );
    let mut end = 0;
    for (prefix, i, values) in tensors(checkpoint) {
        let (name, shape, _) = &checkpoint.params[i];
        assert_eq!(
            values.len(),
            shape.iter().product::<usize>(),
            "{prefix}{name} has the size of its shape"
        );
        let (start, name) = (end, json(&format!("{prefix}{name}")));
        end += size_of_val(values);
        write!(
            head,
            r#",{name}:{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        )
        .expect("writing to a string");
    }
    head.push('}');
    let length = head.len().next_multiple_of(LENGTH_BYTES);
    let mut out = (length as u64).to_le_bytes().to_vec();
    out.extend(head.as_bytes());
    out.resize(LENGTH_BYTES + length, b' ');
    out
}

/// The values of all tensors as little-endian bytes.
fn write_data(checkpoint: &Checkpoint, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    for (_, _, values) in tensors(checkpoint) {
        for part in values.chunks(1 << 14) {
            buffer.clear();
            buffer.extend(part.iter().flat_map(|v| v.to_le_bytes()));
            out.write_all(&buffer)?;
        }
    }
    Ok(())
}

/// The checkpoint in a file's bytes, or why they are none.
fn parse(bytes: &[u8]) -> std::result::Result<Checkpoint, String> {
    let not_ours = || "not a checkpoint, or cut off".to_owned();
    let digits_end = CHECKSUM_AT + DIGITS;
    if bytes.len() < digits_end || &bytes[LENGTH_BYTES..CHECKSUM_AT] != HEADER_START.as_bytes() {
        return Err(not_ours());
    }
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&bytes[..CHECKSUM_AT])
        .update(&[b'0'; DIGITS])
        .update(&bytes[digits_end..]);
    if hasher.finalize().to_hex().as_bytes() != &bytes[CHECKSUM_AT..digits_end] {
        return Err("damaged: the checksum does not match the contents".to_owned());
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let metadata = header.metadata().as_ref().ok_or_else(not_ours)?;
    let format = field(metadata, "format")?;
    if format != FORMAT {
        return Err(format!("checkpoint format {format}; this program reads {FORMAT}"));
    }
    let names = header.offset_keys();
    let count = names.len() / BANKS.len();
    let mut params = Vec::with_capacity(count);
    let mut moments = [Vec::with_capacity(count), Vec::with_capacity(count)];
    for name in &names[..count] {
        let (shape, values) = tensor(&file, name)?;
        for (moment, prefix) in moments.iter_mut().zip(&BANKS[1..]) {
            let (found, values) = tensor(&file, &format!("{prefix}{name}"))?;
            if found != shape {
                return Err(format!("{prefix}{name} has shape {found:?}, {name} {shape:?}"));
            }
            moment.push(values);
        }
        params.push((name.clone(), shape, values));
    }
    let [moment1, moment2] = moments;
    Ok(Checkpoint {
        step: field(metadata, "step")?
            .parse()
            .map_err(|e| format!("step: {e}"))?,
        params,
        moment1,
        moment2,
        config_hash: field(metadata, "config_hash")?.to_owned(),
        state: serde_json::from_str(field(metadata, "state")?).map_err(|e| format!("state: {e}"))?,
    })
}

fn field<'a>(metadata: &'a HashMap<String, String>, key: &str) -> std::result::Result<&'a str, String> {
    metadata
        .get(key)
        .map(String::as_str)
        .ok_or_else(|| format!("no `{key}` in the header"))
}

fn tensor(file: &SafeTensors<'_>, name: &str) -> std::result::Result<(Vec<usize>, Vec<f32>), String> {
    let view = file.tensor(name).map_err(|e| format!("{name}: {e}"))?;
    if view.dtype() != Dtype::F32 {
        return Err(format!("{name} is {:?}, not F32", view.dtype()));
    }
    let (values, _) = view.data().as_chunks::<4>();
    Ok((
        view.shape().to_vec(),
        values.iter().map(|&b| f32::from_le_bytes(b)).collect(),
    ))
}
