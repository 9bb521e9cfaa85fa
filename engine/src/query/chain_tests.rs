//! Chains against whole states: what is restored is what was there, bit for bit, whatever was stored how and what failed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt32Array};
use proptest::prelude::*;
use thermocline_log::{DiskHooks, DiskOp, HookedDisk, LogOptions};

use super::*;
use crate::keyed::KeyedRows;
use crate::window::tests::aggregate;
use crate::window::{Openness, PartitionState, PartitionWindows, WindowAggregate};

/// States of a fixed size, lists, and chunks.
const OUTPUTS: &str = "key, count(v) AS a, stddev(v) AS b, avg(v) AS c, median(v) AS d, approx_median(v) AS e";
const FUNCTIONS: usize = 5;

/// The state folder's disk, which may be full.
#[derive(Debug, Default)]
struct StateDisk {
    is_full: AtomicBool,
}

impl DiskHooks for StateDisk {
    fn before(&self, op: DiskOp, path: &Path) -> io::Result<()> {
        let is_state = path.parent().is_some_and(|folder| folder.ends_with("state"));
        match op == DiskOp::Write && is_state && self.is_full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// What happens to a partition.
#[derive(Debug, Clone)]
enum Step {
    /// Rows of keys, so many seconds after the step before.
    Rows { keys: Vec<u16>, seconds: i64 },
    /// Windows are closed, as far as the watermark has got.
    Close,
    /// A checkpoint is due.
    Checkpoint,
    /// What the last one took is written, or not.
    Written(Disk),
    /// All is lost but what is stored.
    Crash,
}

#[derive(Debug, Clone, Copy)]
enum Disk {
    Works,
    Full,
    /// A bit of every file flips before.
    Flips,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few keys among many, all of them, or new ones.
    let keys = prop_oneof![
        prop::collection::vec(0..4_u16, 1..40),
        prop::collection::vec(0..200_u16, 1..80),
        (0..20_u16).prop_map(|n| (n * 20..n * 20 + 20).collect()),
    ];
    let disk = prop_oneof![6 => Just(Disk::Works), 2 => Just(Disk::Full), 1 => Just(Disk::Flips)];
    let step = prop_oneof![
        4 => (keys, 0..6_i64).prop_map(|(keys, seconds)| Step::Rows { keys, seconds }),
        1 => Just(Step::Close),
        4 => Just(Step::Checkpoint),
        4 => disk.prop_map(Step::Written),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

struct Model {
    log: Log,
    disk: Arc<StateDisk>,
    aggregate: Arc<WindowAggregate>,
    windows: PartitionWindows,
    /// The same without checkpoints and crashes.
    undisturbed: PartitionWindows,
    chain: Chain,
    under_way: Option<(PartitionState, PartitionState)>,
    /// All rows: key, second.
    rows: Vec<(u16, i64)>,
    stored: usize,
    _folder: tempfile::TempDir,
}

fn new_windows(aggregate: &Arc<WindowAggregate>) -> PartitionWindows {
    PartitionWindows::new(Arc::clone(aggregate), Openness::default(), 5_000_000, Some(1)).unwrap()
}

/// Adds rows of these numbers; the values follow from the numbers.
fn add(windows: &mut PartitionWindows, first: usize, rows: &[(u16, i64)]) {
    let keys = rows.iter().map(|(key, _)| (*key > 0).then(|| format!("key {key}")));
    let value = |n: usize| (n as f64).sin() * 1e3 + if n.is_multiple_of(97) { f64::NAN } else { 0.1 };
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((first..first + rows.len()).map(value)));
    let times: Vec<i64> = rows.iter().map(|(_, second)| second * 1_000_000).collect();
    let keyed = KeyedRows {
        keys: vec![Arc::new(keys.collect::<StringArray>())],
        arguments: vec![vec![values]; FUNCTIONS],
        filters: vec![None; FUNCTIONS],
    };
    windows.update(&times.into(), &keyed, &UInt32Array::from_iter_values(0..rows.len() as u32)).unwrap();
}

/// The groups of each pane as text, sorted: in which order they are held is nobody's business.
fn text(state: &PartitionState) -> Vec<String> {
    let mut panes = vec![format!("{} {}", state.next_offset, state.watermark_us)];
    for (key, tables) in &state.panes {
        let rows = tables.iter().flat_map(|rows| (0..rows.num_rows()).map(|row| rows.slice(row, 1)));
        let mut groups: Vec<String> = rows.map(|row| format!("{key:?} {:?}", row.columns())).collect();
        groups.sort_unstable();
        panes.push(format!("{key:?}: {} groups", groups.len()));
        panes.extend(groups);
    }
    panes
}

impl Model {
    fn new(aggregate: &Arc<WindowAggregate>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(StateDisk::default());
        let options = LogOptions { disk: HookedDisk::new(&disk), ..LogOptions::default() };
        Self {
            log: Log::open(folder.path(), options).unwrap(),
            disk,
            aggregate: Arc::clone(aggregate),
            windows: new_windows(aggregate),
            undisturbed: new_windows(aggregate),
            chain: Chain::default(),
            under_way: None,
            rows: Vec::new(),
            stored: 0,
            _folder: folder,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Rows { keys, seconds } => {
                let first = self.rows.len();
                let second = self.rows.last().map_or(0, |(_, second)| *second) + seconds;
                self.rows.extend(keys.iter().map(|key| (*key, second)));
                add(&mut self.windows, first, &self.rows[first..]);
                add(&mut self.undisturbed, first, &self.rows[first..]);
            }
            Step::Close => {
                self.windows.forget(i64::MAX);
                self.undisturbed.forget(i64::MAX);
            }
            Step::Checkpoint => {
                let whole = self.windows.whole_state().unwrap();
                let taken = self.windows.checkpoint().unwrap();
                assert!(taken.is_none() || self.under_way.is_none(), "one at a time");
                self.under_way = self.under_way.take().or(taken.map(|taken| (taken, whole)));
            }
            Step::Written(disk) => {
                if let Some((taken, whole)) = self.under_way.take() {
                    self.write(taken, &whole, *disk);
                }
            }
            Step::Crash => {
                self.under_way = None;
                self.windows = self.restored();
                add(&mut self.windows, self.stored, &self.rows[self.stored..]);
            }
        }
    }

    fn names(&self) -> Vec<String> {
        self.chain.names().map(str::to_owned).collect()
    }

    fn restored(&self) -> PartitionWindows {
        let (chain, states) = Chain::read(&self.log, &self.names(), self.aggregate.as_ref()).unwrap().unwrap();
        assert_eq!(chain, self.chain);
        let mut windows = new_windows(&self.aggregate);
        windows.restore(states).unwrap();
        windows
    }

    fn flip(&self) {
        for name in self.chain.names() {
            let path = self.log.state_dir().join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 16;
            std::fs::write(&path, bytes).unwrap();
        }
    }

    fn write(&mut self, taken: PartitionState, whole: &PartitionState, disk: Disk) {
        self.disk.is_full.store(matches!(disk, Disk::Full), Ordering::SeqCst);
        if matches!(disk, Disk::Flips) {
            self.flip();
        }
        let next_offset = taken.next_offset;
        let name = format!("x-0-{next_offset:020}.snapshot");
        let longer = self.chain.clone().extended(&self.log, name, taken, &self.aggregate);
        self.disk.is_full.store(false, Ordering::SeqCst);
        if matches!(disk, Disk::Flips) && !matches!(longer, Err(NotStored::Chain(_))) {
            // No file was read.
            self.flip();
        }
        match longer {
            Ok(longer) => {
                assert!(!matches!(disk, Disk::Full));
                self.windows.stored(next_offset);
                self.chain = longer;
                self.stored = usize::try_from(next_offset).unwrap();
                assert_eq!(text(&self.restored().whole_state().unwrap()), text(whole));
                for pair in self.chain.files.windows(2) {
                    assert!(pair[0].size + 1 >= 2 * (pair[1].size + 1), "{:?}", self.chain);
                }
            }
            Err(NotStored::File(_)) => self.windows.not_stored(),
            Err(NotStored::Chain(error)) => {
                assert!(
                    matches!(&error, Error::State { name, .. } if self.chain.names().any(|file| name.ends_with(file)))
                );
                self.windows.not_stored();
                self.windows.store_all();
                self.chain = Chain::default();
                self.stored = 0;
            }
        }
    }
}

fn small_aggregate() -> Arc<WindowAggregate> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Arc::new(runtime.block_on(aggregate(OUTPUTS, "key,")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_chain_is_the_whole_state(steps in steps()) {
        let mut model = Model::new(&small_aggregate());
        for step in &steps {
            model.step(step);
        }
        model.step(&Step::Close);
        prop_assert_eq!(
            text(&model.windows.whole_state().unwrap()),
            text(&model.undisturbed.whole_state().unwrap())
        );
    }
}

/// A large first state, then a few groups at a time.
fn long_chain(aggregate: &Arc<WindowAggregate>) -> Model {
    let mut model = Model::new(aggregate);
    for keys in [0..400_u16, 10..110, 20..40, 0..4] {
        model.step(&Step::Rows { keys: keys.collect(), seconds: 0 });
        model.step(&Step::Checkpoint);
        model.step(&Step::Written(Disk::Works));
    }
    assert_eq!(model.chain.files.iter().map(|file| file.size).collect::<Vec<_>>(), [400, 100, 20, 4]);
    model
}

#[test]
fn files_give_way_to_one_that_is_as_large_as_half_of_them() {
    let mut model = long_chain(&small_aggregate());
    let mut store = |keys: std::ops::Range<u16>| -> Vec<usize> {
        model.step(&Step::Rows { keys: keys.collect(), seconds: 0 });
        model.step(&Step::Checkpoint);
        model.step(&Step::Written(Disk::Works));
        model.chain.files.iter().map(|file| file.size).collect()
    };
    assert_eq!(store(300..302), [400, 100, 20, 6]);
    assert_eq!(store(0..30), [400, 112]);
    assert_eq!(store(0..30), [400, 112, 30]);
    assert_eq!(store(380..420), [400, 152]);
    assert_eq!(store(0..80), [420]);
}

#[test]
fn any_file_of_a_chain_that_is_damaged_or_missing_is_named() {
    let model = long_chain(&small_aggregate());
    for name in model.chain.names() {
        let path = model.log.state_dir().join(name);
        let intact = std::fs::read(&path).unwrap();
        let check = |what: &str| {
            let error = Chain::read::<PartitionState>(&model.log, &model.names(), &model.aggregate).expect_err(what);
            assert!(error.to_string().contains(name), "{what}: {error}");
        };
        for byte in (0..intact.len()).step_by(101) {
            let mut broken = intact.clone();
            broken[byte] ^= 1 << (byte % 8);
            std::fs::write(&path, &broken).unwrap();
            check("a bit is wrong");
        }
        std::fs::remove_file(&path).unwrap();
        check("it is missing");
        std::fs::write(&path, &intact).unwrap();
    }
    // Files that are whole but do not follow each other.
    let names = model.names();
    for (left_out, named) in [(0, 1), (1, 0), (2, 1)] {
        let mut others = names.clone();
        others.remove(left_out);
        let error = Chain::read::<PartitionState>(&model.log, &others, &model.aggregate).expect_err("one is left out");
        assert!(error.to_string().contains(&names[named]), "{left_out}: {error}");
    }
}
