use super::*;
use serde_json::json;

fn sample(step: u64) -> Checkpoint {
    // Values with every kind of bit pattern: signalling and quiet NaNs with payloads, -0, denormals, infinities.
    let odd = [
        0x7fa0_1234,
        0xffc0_0001,
        0x8000_0000,
        0x0000_0001,
        0x7f80_0000,
        0x3f80_0001,
    ]
    .map(f32::from_bits);
    let more = |k: u32| (0..6).map(|i| (i as f32 + k as f32).sin()).collect::<Vec<_>>();
    Checkpoint {
        step,
        params: vec![
            ("encoder.weight".to_owned(), vec![2, 3], odd.to_vec()),
            ("encoder.bias".to_owned(), vec![2], vec![0.5, -1.5]),
            ("a.scalar \"quoted\"".to_owned(), vec![], vec![3.0]),
        ],
        moment1: vec![more(1), vec![1e-30, 2.0], vec![0.25]],
        moment2: vec![more(2), vec![0.0, 1e30], vec![0.75]],
        config_hash: "c0ffee".to_owned(),
        state: json!({ "best": 0.625, "evaluations": 3, "text": "q\"\n" }),
    }
}

/// Everything in a form that compares by bits: NaN is not equal to itself.
fn bits(c: &Checkpoint) -> (String, Vec<u32>) {
    let names: Vec<_> = c.params.iter().map(|(name, shape, _)| (name, shape)).collect();
    let values = tensors(c)
        .flat_map(|(_, _, v)| v.iter().map(|x| x.to_bits()))
        .collect();
    (
        format!("{} {names:?} {} {}", c.step, c.config_hash, c.state),
        values,
    )
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A disk with `left` bytes of space.
struct Full {
    file: File,
    left: usize,
}

impl Write for Full {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = self.file.write(&data[..data.len().min(self.left)])?;
        self.left -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[test]
fn round_trip_keeps_every_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &sample(7)).unwrap();
    assert_eq!(path, dir.path().join("checkpoint-00000007.safetensors"));
    let (loaded, warnings) = latest(dir.path()).unwrap().unwrap();
    assert_eq!(bits(&loaded), bits(&sample(7)));
    assert!(warnings.is_empty());
    assert_eq!(names(dir.path()).len(), 1);
}

#[test]
fn larger_than_one_buffer_and_the_same_bytes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..40_000).map(|i| (i as f32).cos()).collect();
    let checkpoint = Checkpoint {
        params: vec![("w".to_owned(), vec![200, 200], values.clone())],
        moment1: vec![values.iter().map(|v| v * 0.1).collect()],
        moment2: vec![values.iter().map(|v| v * v).collect()],
        ..sample(1)
    };
    let path = save(dir.path(), &checkpoint).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bits(&load(&path).unwrap()), bits(&checkpoint));
    assert_eq!(
        std::fs::read(save(dir.path(), &checkpoint).unwrap()).unwrap(),
        bytes
    );
}

#[test]
fn the_file_is_plain_safetensors_under_reference_names() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(save(dir.path(), &sample(7)).unwrap()).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("encoder.weight").unwrap().shape(), [2, 3]);
    let moment = file.tensor("adam_v.encoder.bias").unwrap();
    assert_eq!(moment.data(), [0.0_f32, 1e30].map(f32::to_le_bytes).concat());
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!((header % 8, metadata.offset_keys().len()), (0, 9));
    assert_eq!(metadata.metadata().as_ref().unwrap()["step"], "7");
}

#[test]
fn every_flipped_bit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &sample(7)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(parse(&bytes).is_err(), "bit {bit} of byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(parse(&bytes).is_ok());
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(save(dir.path(), &sample(7)).unwrap()).unwrap();
    for length in 0..bytes.len() {
        assert!(
            parse(&bytes[..length]).is_err(),
            "cut to {length} of {} bytes",
            bytes.len()
        );
    }
    bytes.push(0);
    assert!(parse(&bytes).is_err());
}

#[test]
fn a_foreign_file_with_a_right_checksum_is_refused_with_the_reason() {
    let sealed = |metadata: &str, tensors: &str, data: usize| {
        let mut head = format!("{HEADER_START}{:0DIGITS$}\"{metadata}}}{tensors}}}", 0);
        while !head.len().is_multiple_of(8) {
            head.push(' ');
        }
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head.as_bytes());
        bytes.extend(vec![0; data]);
        let digits = blake3::hash(&bytes).to_hex();
        bytes[CHECKSUM_AT..CHECKSUM_AT + DIGITS].copy_from_slice(digits.as_bytes());
        parse(&bytes).unwrap_err()
    };
    let good = r#","format":"1","step":"1","config_hash":"","state":"{}""#;
    assert!(sealed("", "", 0).contains("no `format`"));
    assert!(sealed(r#","format":"2""#, "", 0).contains("format 2; this program reads 1"));
    assert!(sealed(&good.replace("\"1\",\"conf", "\"x\",\"conf"), "", 0).starts_with("step: "));
    assert!(sealed(&good.replace("{}", "{"), "", 0).starts_with("state: "));
    let one = |dtype: &str, name: &str, at: usize| {
        format!(
            r#","{name}":{{"dtype":"{dtype}","shape":[1],"data_offsets":[{at},{}]}}"#,
            at + 4
        )
    };
    let banks =
        |dtype: &str, first: &str| one(dtype, "w", 0) + &one(dtype, first, 4) + &one(dtype, "adam_v.w", 8);
    assert!(sealed(good, &banks("I32", "adam_m.w"), 12).contains("w is I32, not F32"));
    assert!(sealed(good, &banks("F32", "adam_m.x"), 12).starts_with("adam_m.w: "));
    assert!(!sealed(good, &banks("F32", "adam_m.w"), 8).is_empty());
}

#[test]
fn a_damaged_file_gives_way_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &sample(1)).unwrap();
    let newest = save(dir.path(), &sample(2)).unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&newest, &bytes).unwrap();
    let (found, warnings) = latest(dir.path()).unwrap().unwrap();
    assert_eq!(found.step, 1);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("checkpoint-00000002.safetensors: damaged: the checksum"),
        "{warnings:?}"
    );

    std::fs::write(dir.path().join("checkpoint-00000001.safetensors"), "").unwrap();
    let error = latest(dir.path()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(
        error.to_string().contains("every checkpoint is damaged"),
        "{error}"
    );
}

#[test]
fn the_last_two_are_kept_and_an_abandoned_course_goes() {
    let dir = tempfile::tempdir().unwrap();
    let kept = |steps: &[u64]| {
        steps
            .iter()
            .map(|s| format!("checkpoint-{s:08}.safetensors"))
            .collect::<Vec<_>>()
    };
    for step in [1, 2, 3] {
        save(dir.path(), &sample(step)).unwrap();
    }
    assert_eq!(names(dir.path()), kept(&[2, 3]));
    // Step 300 came out damaged and the run went on from step 3.
    std::fs::write(dir.path().join("checkpoint-00000300.safetensors"), "x").unwrap();
    save(dir.path(), &sample(4)).unwrap();
    assert_eq!(names(dir.path()), kept(&[3, 4]));
    save(dir.path(), &sample(4)).unwrap();
    assert_eq!(names(dir.path()), kept(&[3, 4]));
    save(dir.path(), &sample(123_456_789)).unwrap();
    assert_eq!(latest(dir.path()).unwrap().unwrap().0.step, 123_456_789);
}

#[test]
fn other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let others = [
        "checkpoint-best.safetensors",
        "checkpoint-1.txt",
        "metrics.jsonl",
        ".result.json.a.tmp",
    ];
    for name in others {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    for step in 1..=3 {
        save(dir.path(), &sample(step)).unwrap();
    }
    let found = names(dir.path());
    assert!(others.iter().all(|o| found.iter().any(|f| f == o)), "{found:?}");
    assert_eq!(found.len(), others.len() + 2);
}

#[test]
fn a_kill_in_the_middle_of_a_save_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &sample(1)).unwrap();
    let half = dir.path().join(".checkpoint-00000002.safetensors.Xyz.tmp");
    std::fs::write(
        &half,
        &std::fs::read(save(dir.path(), &sample(1)).unwrap()).unwrap()[..200],
    )
    .unwrap();
    assert_eq!(latest(dir.path()).unwrap().unwrap().0.step, 1);
    save(dir.path(), &sample(3)).unwrap();
    assert!(!half.exists());
    assert_eq!(latest(dir.path()).unwrap().unwrap().0.step, 3);
}

#[test]
fn a_full_disk_leaves_the_last_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    for step in [1, 2] {
        save(dir.path(), &sample(step)).unwrap();
    }
    let before = names(dir.path());
    let size = std::fs::metadata(dir.path().join(&before[0])).unwrap().len() as usize;
    for left in [0, 1, size / 2, size - 1] {
        let error = save_through(dir.path(), &sample(3), |file| Full { file, left }).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(
            error.to_string().contains("checkpoint-00000003.safetensors"),
            "{error}"
        );
        assert_eq!(names(dir.path()), before);
        assert_eq!(bits(&latest(dir.path()).unwrap().unwrap().0), bits(&sample(2)));
    }
    save_through(dir.path(), &sample(3), |file| Full { file, left: size }).unwrap();
    assert_eq!(latest(dir.path()).unwrap().unwrap().0.step, 3);
}

#[test]
fn a_folder_that_is_none_is_an_error_to_write_and_empty_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert_eq!(save(&missing, &sample(1)).unwrap_err().exit_code(), 3);
    assert!(latest(&missing).unwrap().is_none());
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(save(&file, &sample(1)).unwrap_err().exit_code(), 3);
    assert!(latest(dir.path()).unwrap().is_none());
}
