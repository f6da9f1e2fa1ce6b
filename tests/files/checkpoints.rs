//! Checkpoints under kills: whatever operation of the disk is the last one, the newest whole checkpoint loads.

use fairy2i_gpu::files::checkpoint::Spec;
use fairy2i_gpu::files::corpus::Order;
use fairy2i_gpu::files::run::disk::Disk;
use fairy2i_gpu::files::run::{Before, Checkpoints, LossScale, RunState};
use fairy2i_gpu::model::Dtype;
use fairy2i_gpu::{Error, Result};
use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

/// A disk that is gone after so many operations; of the write that fails, half is done.
struct Failing(Rc<Cell<u64>>);

impl Failing {
    fn spend(&self) -> std::io::Result<()> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(std::io::Error::other("killed")),
        }
    }
}

impl Disk for Failing {
    fn make_folder(&self, path: &Path) -> std::io::Result<()> {
        self.spend()?;
        std::fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> std::io::Result<File> {
        self.spend()?;
        File::create(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
        if let Err(error) = self.spend() {
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> std::io::Result<()> {
        self.spend()?;
        file.sync_all()
    }

    fn sync_folder(&self, _: &Path) -> std::io::Result<()> {
        self.spend()
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.spend()?;
        std::fs::rename(from, to)
    }

    /// Half of the folder goes, file by file, when the disk does.
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(path)? {
            self.spend()?;
            std::fs::remove_file(entry?.path())?;
        }
        std::fs::remove_dir(path)
    }
}

fn state(step: u64) -> RunState {
    RunState {
        step,
        updates: step - 1,
        tokens: step * 512,
        loss_scale: LossScale {
            exponent: 15,
            since_change: 3,
            adapts: true,
        },
        random: 0xFFFF_FFFF_FFFF_FFFF,
        order: Order {
            seed: 42,
            cursor: step * 8,
        },
        milliseconds: 5,
        before: [(
            "novels".to_owned(),
            Before {
                full: 31.5,
                quantized: 72.25,
            },
        )]
        .into(),
    }
}

fn shapes() -> Vec<Spec> {
    let spec = |name: &str, shape| Spec {
        name: name.to_owned(),
        dtype: Dtype::F32,
        shape,
    };
    vec![spec("b", vec![2, 3]), spec("a", vec![5])]
}

fn values(step: u64, part: usize, n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| step as f32 + part as f32 * 0.25 + i as f32)
        .collect()
}

const PARTS: [&str; 2] = ["master.safetensors", "first.safetensors"];

fn save(all: &Checkpoints, step: u64) -> Result<()> {
    let mut saving = all.save(step)?;
    for (part, name) in PARTS.iter().enumerate() {
        let mut file = saving.tensors(name, &shapes())?;
        file.push(&values(step, part, 6))?;
        file.push(&values(step, part, 5))?;
        file.finish()?;
    }
    saving.state(&state(step))?;
    saving.commit()
}

/// The step of the newest checkpoint, after comparing all of it; what was said about others.
#[track_caller]
fn newest(all: &Checkpoints) -> (Option<u64>, Vec<String>) {
    let mut said = Vec::new();
    let saved = all
        .newest(&mut |line| said.push(line.to_owned()))
        .expect("one is whole");
    let step = saved.map(|saved| {
        let step = saved.step();
        assert_eq!(saved.state::<RunState>().expect("a state"), state(step));
        for (part, name) in PARTS.iter().enumerate() {
            let tensors = saved.tensors(name).expect("tensors");
            assert_eq!(tensors.names().collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(
                *tensors.values("b", &[2, 3]).expect("b"),
                values(step, part, 6)
            );
            assert_eq!(
                *tensors.values("a", &[5]).expect("a"),
                values(step, part, 5)
            );
            assert!(
                tensors.words("a", Dtype::U32, &[5]).is_err(),
                "another type"
            );
            let wrong = tensors.values("a", &[6]).expect_err("another shape");
            assert_eq!(wrong.exit_code(), 2);
        }
        step
    });
    (step, said)
}

#[test]
fn a_kill_at_any_operation_leaves_a_checkpoint() {
    for keep in [1, 2] {
        let mut operations = 0;
        loop {
            let run = tempfile::tempdir().expect("a temporary folder");
            let whole = Checkpoints::open(run.path(), keep).expect("a folder");
            save(&whole, 100).expect("saved");
            save(&whole, 200).expect("saved");
            let left = Rc::new(Cell::new(u64::MAX));
            let disk = Box::new(Failing(Rc::clone(&left)));
            let failing = Checkpoints::open_on(disk, run.path(), keep).expect("a folder");
            left.set(operations);
            let saved = save(&failing, 300);
            // The program starts again.
            let all = Checkpoints::open(run.path(), keep).expect("a folder");
            let (step, said) = newest(&all);
            assert!(said.is_empty(), "after {operations}: {said:?}");
            let renamed = step == Some(300);
            assert!(renamed || step == Some(200), "after {operations}: {step:?}");
            let stale = std::fs::read_dir(run.path()).expect("it opens");
            let mut names = stale.map(|e| e.expect("an entry").file_name());
            assert!(names.all(|n| !n.to_string_lossy().contains("tmp")));
            save(&all, 300).expect("saved again");
            assert_eq!(newest(&all).0, Some(300));
            assert_eq!(all.steps().expect("it opens").len(), keep);
            if saved.is_ok() {
                break;
            }
            operations += 1;
        }
        assert!(operations > 20, "{operations}: the disk was hardly used");
    }
}

#[test]
fn a_damaged_checkpoint_is_told_and_left_out() {
    let run = tempfile::tempdir().expect("a temporary folder");
    let all = Checkpoints::open(run.path(), 3).expect("a folder");
    assert_eq!(newest(&all), (None, vec![]));
    for step in [9, 10, 11] {
        save(&all, step).expect("saved");
    }
    let damage = |step: u64, file: &str, at: usize| {
        let path = run.path().join(format!("step-{step}")).join(file);
        let mut bytes = std::fs::read(&path).expect("it reads");
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).expect("it is written");
    };
    damage(11, "master.safetensors", 180);
    let (step, said) = newest(&all);
    assert_eq!((step, said.len()), (Some(10), 1));
    assert!(
        said[0].contains("step-11") && said[0].contains("master.safetensors"),
        "{said:?}"
    );
    std::fs::remove_file(run.path().join("step-10/manifest.json")).expect("removed");
    assert_eq!(newest(&all).0, Some(9));
    // Going on from there, nothing whole is removed for the sake of what is damaged.
    save(&all, 10).expect("saved");
    assert_eq!(newest(&all).0, Some(10));
    damage(9, "state.json", 3);
    damage(10, "state.json", 3);
    let Err(error) = all.newest(&mut |_| {}) else {
        panic!("nothing is whole");
    };
    assert!(error.to_string().contains("step-9"), "{error}");
}

#[test]
fn files_must_be_complete() {
    let run = tempfile::tempdir().expect("a temporary folder");
    let all = Checkpoints::open(run.path(), 1).expect("a folder");
    let mut saving = all.save(1).expect("a folder");
    let mut file = saving.tensors(PARTS[0], &shapes()).expect("a file");
    assert!(matches!(file.push(&[1.0]), Err(Error::Usage { .. })));
    assert!(matches!(file.finish(), Err(Error::Usage { .. })));
    drop(saving);
    assert_eq!(
        newest(&Checkpoints::open(run.path(), 1).expect("a folder")).0,
        None
    );
}
