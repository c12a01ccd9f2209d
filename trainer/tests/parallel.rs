//! Several ranks in one process: what they exchange, what happens when one fails, and that they train what one alone trains.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor, Var};
use clap::ValueEnum;
use support::{
    assert_same,
    factor_vae::{batch, factor_vae, small, snapshot},
    files, results, start, start_on,
};
use tempfile::tempdir;
use unbraid_trainer::{
    Error, Result,
    data::{self, sprites::Sprites},
    model::Architecture,
    objective::{Batch, Company, Objective, Options, System, Terms},
    parallel::{Communicator, InProcess, Launch, Single},
    train::{
        config::TrainConfig,
        loader::{Draw, Loader},
        run::Run,
    },
};

const CPU: Device = Device::Cpu;

/// Runs `work` on `world_size` ranks; their results in rank order.
fn on_ranks<T: Send>(world_size: usize, work: impl Fn(&dyn Communicator) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            InProcess::ranks(world_size).into_iter().map(|rank| scope.spawn(move || work(&rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_rank_gets_the_mean_in_the_same_bytes() {
    let means = on_ranks(3, |rank| {
        // In f32 the order of this sum shows in its last bits.
        let share = [0.1f32, 1e8, -1e8][rank.rank()];
        let tensors = [
            Tensor::new(&[[share, 1.0], [2.0, rank.rank() as f32]], &CPU).unwrap(),
            Tensor::new(rank.rank() as f32, &CPU).unwrap(),
        ];
        let mean = rank.average(&tensors).unwrap();
        assert_eq!(mean[0].dims(), [2, 2]);
        [values(&mean[0]), values(&mean[1])].concat()
    });
    let expected = ((0.1f32 + 1e8) + -1e8) * (1.0 / 3.0);
    assert_eq!(means[0], [expected, 3.0 * (1.0 / 3.0), 6.0 * (1.0 / 3.0), 3.0 * (1.0 / 3.0), 3.0 * (1.0 / 3.0)]);
    for mean in &means[1..] {
        assert_eq!(mean, &means[0]);
    }
}

#[test]
fn rows_come_together_in_rank_order() {
    let all = on_ranks(3, |rank| {
        let first = 10.0 * rank.rank() as f32;
        let rows = Tensor::new(&[[first, first + 1.0], [first + 2.0, first + 3.0]], &CPU).unwrap();
        let all = rank.gather(&rows).unwrap();
        assert_eq!(all.dims(), [6, 2]);
        values(&all)
    });
    for rows in all {
        assert_eq!(rows, [0., 1., 2., 3., 10., 11., 12., 13., 20., 21., 22., 23.]);
    }
}

#[test]
fn rank_0s_state_reaches_all_ranks() {
    let states = on_ranks(3, |rank| {
        let weights = Tensor::full(rank.rank() as f32 + 1.0, (2, 2), &CPU).unwrap();
        let step = Tensor::new(&[rank.rank() as i64 + 7], &CPU).unwrap();
        let state = rank.broadcast(&[weights, step]).unwrap();
        rank.barrier().unwrap();
        rank.finish().unwrap();
        (values(&state[0]), state[1].to_vec1::<i64>().unwrap())
    });
    for state in states {
        assert_eq!(state, (vec![1.0; 4], vec![7]));
    }
}

#[test]
fn one_rank_alone_gets_back_what_it_brought() {
    let ranks: Vec<Box<dyn Communicator>> =
        vec![Box::new(Single), Box::new(InProcess::ranks(1).pop().expect("one rank"))];
    for rank in ranks {
        let rows = Tensor::new(&[[0.1f32, 0.2], [0.3, 0.7]], &CPU).unwrap();
        assert_eq!((rank.rank(), rank.world_size()), (0, 1));
        assert_eq!(values(&rank.average(std::slice::from_ref(&rows)).unwrap()[0]), values(&rows));
        assert_eq!(values(&rank.gather(&rows).unwrap()), values(&rows));
        assert_eq!(values(&rank.broadcast(std::slice::from_ref(&rows)).unwrap()[0]), values(&rows));
        rank.finish().unwrap();
    }
}

#[test]
fn results_carry_no_gradient() {
    on_ranks(2, |rank| {
        let var = Var::from_tensor(&Tensor::ones((2, 2), DType::F32, &CPU).unwrap()).unwrap();
        let twice = (var.as_tensor() * 2.0).unwrap();
        let mean = rank.average(std::slice::from_ref(&twice)).unwrap().remove(0);
        for result in [mean, rank.gather(&twice).unwrap()] {
            assert!(!result.track_op());
        }
    });
}

#[test]
fn many_rounds_stay_in_step() {
    let sums = on_ranks(4, |rank| {
        let mut sum = 0.0;
        for round in 0..500 {
            // Ranks of uneven speed.
            if (round + rank.rank()) % 97 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            let value = Tensor::new(&[(round * (rank.rank() + 1)) as f32], &CPU).unwrap();
            sum += values(&rank.average(&[value]).unwrap()[0])[0];
        }
        sum
    });
    assert!(sums.iter().all(|&sum| sum == (0..500).map(|round| round as f32 * 2.5).sum::<f32>()), "{sums:?}");
}

#[test]
fn a_rank_may_overwrite_its_gradients_at_once() {
    on_ranks(2, |rank| {
        let gradient = Var::from_tensor(&Tensor::zeros(100_000, DType::F32, &CPU).unwrap()).unwrap();
        for round in 0..50 {
            gradient.set(&Tensor::full((round + rank.rank()) as f32, 100_000, &CPU).unwrap()).unwrap();
            let mean = rank.average(&[gradient.as_detached_tensor()]).unwrap();
            assert!(values(&mean[0]).iter().all(|&value| value == round as f32 + 0.5), "round {round}");
        }
    });
}

#[test]
fn ranks_that_wait_hear_of_one_that_leaves_or_panics() {
    for panics in [false, true] {
        let (sender, errors) = mpsc::channel();
        let start = Instant::now();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for rank in InProcess::ranks(3) {
                let sender = sender.clone();
                threads.push(scope.spawn(move || {
                    rank.barrier().unwrap();
                    if rank.rank() == 1 {
                        thread::sleep(Duration::from_millis(50));
                        // Without the panic hook's message in the tests' output.
                        return if panics {
                            std::panic::resume_unwind(Box::new("a rank that fails"))
                        };
                    }
                    let tensor = Tensor::ones(1, DType::F32, &CPU).unwrap();
                    sender.send(rank.average(&[tensor]).unwrap_err().to_string()).unwrap();
                    // And it stays an error.
                    rank.barrier().unwrap_err();
                }));
            }
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        drop(sender);
        let mut errors: Vec<_> = errors.iter().collect();
        errors.sort();
        // The first of the two that gives up is gone for the other, too.
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert_eq!(errors[0], "rank 0 of 3: rank 1 is gone; average takes all ranks");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}

/// What both ranks say when they bring different things.
fn disagreement(call: impl Fn(&dyn Communicator) -> Result<()> + Sync) -> String {
    let errors = on_ranks(2, |rank| call(rank).unwrap_err().to_string());
    let said = |rank: usize| errors[rank].strip_prefix(&format!("rank {rank} of 2: ")).unwrap().to_owned();
    assert_eq!(said(0), said(1));
    said(0)
}

#[test]
fn ranks_that_bring_different_things_are_told_apart() {
    let tensor = |rows: usize, dtype| Tensor::ones((rows, 2), dtype, &CPU).unwrap();
    let shapes = disagreement(|rank| rank.average(&[tensor(rank.rank() + 1, DType::F32)]).map(drop));
    assert_eq!(shapes, "average, tensor 0: rank 1 has [2, 2] f32, rank 0 has [1, 2] f32");
    let types = disagreement(|rank| rank.gather(&tensor(1, [DType::F32, DType::F64][rank.rank()])).map(drop));
    assert_eq!(types, "gather, tensor 0: rank 1 has [1, 2] f64, rank 0 has [1, 2] f32");
    let counts = disagreement(|rank| rank.average(&vec![tensor(1, DType::F32); rank.rank()]).map(drop));
    assert_eq!(counts, "average: rank 1 has 1 tensors, rank 0 has 0");
    let calls = disagreement(|rank| match rank.rank() {
        0 => rank.barrier(),
        _ => rank.average(&[]).map(drop),
    });
    assert_eq!(calls, "call: rank 1 has average, rank 0 has barrier");
    let whole = Single.average(&[]).and_then(|_| {
        let rank = InProcess::ranks(1).pop().expect("one rank");
        rank.average(&[Tensor::ones(1, DType::U32, &CPU)?]).map(drop)
    });
    assert_eq!(whole.unwrap_err().to_string(), "average: found a tensor of u32, expected f32");
}

/// Gradients of a small loss that is a mean over the batch, plus one that couples all rows through a shuffle.
fn gradients(rank: &dyn Communicator, weights: &Tensor, rows: &Tensor) -> Vec<Tensor> {
    let share = rows.dim(0).unwrap() / rank.world_size();
    let own = rows.narrow(0, rank.rank() * share, share).unwrap();
    let weights = Var::from_tensor(weights).unwrap();
    let codes = own.matmul(weights.as_tensor()).unwrap().tanh().unwrap();
    // Each rank shuffles all rows alike and goes on with its own.
    let all = rank.gather(&codes).unwrap();
    let order: Vec<u32> = (0..all.dim(0).unwrap() as u32).rev().collect();
    let shuffled = all.index_select(&Tensor::new(order, &CPU).unwrap(), 0).unwrap();
    let shuffled = shuffled.narrow(0, rank.rank() * share, share).unwrap();
    let loss = (codes.sqr().unwrap() + (&codes * shuffled).unwrap()).unwrap().mean_all().unwrap();
    let gradients = loss.backward().unwrap();
    rank.average(&[gradients.get(&weights).unwrap().clone(), loss]).unwrap()
}

#[test]
fn two_ranks_with_half_batches_are_one_with_the_whole_batch() {
    let mut rng = unbraid_trainer::rng::stream(1, unbraid_trainer::rng::Purpose::Noise, 1);
    let mut random = |rows, columns| {
        Tensor::from_vec(unbraid_trainer::rng::normals(&mut rng, rows * columns), (rows, columns), &CPU).unwrap()
    };
    let (weights, rows) = (random(8, 5), random(16, 8));
    let alone = gradients(&Single, &weights, &rows);
    for world_size in [2, 4] {
        let together = on_ranks(world_size, |rank| gradients(rank, &weights, &rows));
        for results in &together {
            for (found, expected) in results.iter().zip(&alone) {
                for (a, b) in values(found).iter().zip(values(expected)) {
                    assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-2), "{a} {b}");
                }
            }
            // All ranks the same bytes.
            assert_eq!(values(&results[0]), values(&together[0][0]));
        }
    }
}

/// This rank's rows of both minibatches.
fn share(ranks: &dyn Communicator, batch: Batch) -> Batch {
    let company = Company { ranks, terms: true };
    Batch { images: batch.images.iter().map(|images| company.share(images).unwrap()).collect(), ..batch }
}

/// Weights and moments by name.
type State = BTreeMap<String, Vec<f32>>;

/// A system of small networks.
fn system(system: System) -> Box<dyn Objective> {
    match system {
        System::FactorVae => Box::new(factor_vae(&small())),
        System::Pca | System::Ica => {
            let architecture = Architecture::preset("linear", 5).unwrap();
            start_on(&Sprites, &architecture, system, &Options::default())
        }
        _ => {
            let mut options = Options::default();
            options.vae.learning_rate = 1e-3;
            options.info_wgan_gp.critic_steps = 2;
            start(system, &options)
        }
    }
}

/// Three steps of `objective` on minibatches of `n`: their terms, and the state before and after.
fn three_steps(
    mut objective: Box<dyn Objective>,
    n: usize,
    ranks: &dyn Communicator,
    share: impl Fn(Batch) -> Batch,
) -> (Vec<Terms>, State, State) {
    let before = snapshot(&*objective);
    let step = |step| {
        let mut batch = batch(n, step);
        batch.images.truncate(objective.minibatches());
        objective.step(&share(batch), Company { ranks, terms: true }).unwrap()
    };
    let terms = (1..=3).map(step).collect();
    (terms, before, snapshot(&*objective))
}

/// A communicator that does one thing wrong.
#[derive(Debug)]
struct Faulty<'a> {
    ranks: &'a dyn Communicator,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    OwnGradients,
    OwnTerms,
    /// permute_dims over this rank's rows alone.
    OwnShuffle,
    /// All ranks take the noise and the shuffled rows of rank 0.
    SameRows,
}

impl Communicator for Faulty<'_> {
    fn rank(&self) -> usize {
        if self.fault == Fault::SameRows { 0 } else { self.ranks.rank() }
    }

    fn world_size(&self) -> usize {
        self.ranks.world_size()
    }

    fn average(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        // The terms of a loss come as one tensor.
        let kept = if tensors.len() == 1 { Fault::OwnTerms } else { Fault::OwnGradients };
        if self.fault == kept { Single.average(tensors) } else { self.ranks.average(tensors) }
    }

    fn gather(&self, tensor: &Tensor) -> Result<Tensor> {
        match self.fault {
            Fault::OwnShuffle => Ok(Tensor::cat(&vec![tensor; self.world_size()], 0)?),
            _ => self.ranks.gather(tensor),
        }
    }

    fn broadcast(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        self.ranks.broadcast(tensors)
    }

    fn barrier(&self) -> Result<()> {
        self.ranks.barrier()
    }
}

/// How far rank 1 of two with half of each minibatch is from one process with the whole: the largest difference of a term, and
/// for weights and moments the largest that a tensor has beside the way that it came in these steps.
fn distance(objective: System, fault: Fault) -> [f64; 2] {
    // Five components take 15 images.
    let n = if matches!(objective, System::Pca | System::Ica) { 16 } else { 8 };
    let (terms, start, alone) = three_steps(system(objective), n, &Single, |batch| batch);
    let mut together =
        on_ranks(2, |ranks| three_steps(system(objective), n, &Faulty { ranks, fault }, |batch| share(ranks, batch)));
    let (found_terms, _, found) = together.pop().expect("rank 1");
    if fault == Fault::None {
        let (rank_0_terms, _, rank_0) = &together[0];
        assert!(found == *rank_0 && found_terms == *rank_0_terms, "the ranks are apart");
    }
    let of_terms = found_terms.iter().flatten().zip(terms.iter().flatten()).map(|((name, found), (same, expected))| {
        assert_eq!(name, same);
        f64::from((found - expected).abs() / expected.abs().max(1.0))
    });
    let length = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    assert!(found.keys().eq(alone.keys()));
    let of_state = alone
        .iter()
        .map(|(name, expected)| length(&found[name], expected) / length(expected, &start[name]).max(f64::MIN_POSITIVE));
    [of_terms.fold(0.0, f64::max), of_state.fold(0.0, f64::max)]
}

#[test]
fn two_ranks_train_what_one_trains() {
    for &system in System::value_variants() {
        let [terms, state] = distance(system, Fault::None);
        // Sums in another order: measured 1e-7 and 9e-6, the latter where Adam divides small gradients by small ones.
        assert!(terms < 1e-5 && state < 1e-3, "{}: terms {terms:e}, state {state:e}", system.name());
    }
    // What these bounds are to catch is far beyond them.
    for fault in [Fault::OwnGradients, Fault::OwnShuffle, Fault::SameRows] {
        let [_, state] = distance(System::FactorVae, fault);
        assert!(state > 0.1, "{fault:?}: state {state:e}");
    }
    // Statistics of this rank's images alone.
    for system in [System::BetaTcvae, System::DipVaeI, System::DipVaeIi] {
        let [terms, _] = distance(system, Fault::OwnShuffle);
        assert!(terms > 1e-3, "{}: terms {terms:e}", system.name());
    }
    let [terms, _] = distance(System::FactorVae, Fault::OwnTerms);
    assert!(terms > 0.01, "terms {terms:e}");
}

#[test]
fn a_loss_that_is_no_number_on_one_rank_stops_all() {
    on_ranks(2, |ranks| {
        let company = Company { ranks, terms: true };
        let mut objective = factor_vae(&small());
        objective.step(&share(ranks, batch(4, 1)), company).unwrap();
        let before = snapshot(&objective);
        let mut broken = share(ranks, batch(4, 2));
        if ranks.rank() == 1 {
            broken.images[0] = (&broken.images[0] * f64::NAN).unwrap();
        }
        let error = objective.step(&broken, company).unwrap_err();
        let of_loss = matches!(&error, Error::NotFinite { step: 2, term, .. } if term == "loss");
        assert!(of_loss, "rank {}: {error}", ranks.rank());
        assert!(snapshot(&objective) == before, "rank {}: weights changed", ranks.rank());
    });
}

#[test]
fn the_ranks_shares_are_the_minibatches_of_one() {
    let dataset = data::open("sprites").unwrap();
    let draw = |rank, world_size| Draw { rank, world_size, ..Draw::new(&factor_vae(&small()), 5, 8) };
    // Minibatches of ten steps, one after another, which threads render in turn.
    let load = |draw: Draw| -> Vec<Vec<f32>> {
        thread::scope(|scope| {
            let mut loader = Loader::start(scope, &*dataset, draw, 3..=12, &CPU);
            let batches: Vec<_> = (3..=12).map(|_| loader.next_batch().unwrap()).collect();
            batches.iter().flat_map(|batch| &batch.images).map(values).collect()
        })
    };
    let alone = load(draw(0, 1));
    let steps = (3..=12).flat_map(|step| draw(0, 1).indices(&*dataset, step).unwrap().0);
    let pixels = dataset.batch(&steps.collect::<Vec<_>>()).unwrap();
    assert!(alone.concat() == pixels.into_iter().map(|pixel| f32::from(pixel) / 255.0).collect::<Vec<f32>>());
    for world_size in [2, 4] {
        let shares: Vec<_> = (0..world_size).map(|rank| load(draw(rank, world_size))).collect();
        for (minibatch, whole) in alone.iter().enumerate() {
            let together: Vec<f32> = shares.iter().flat_map(|share| &share[minibatch]).copied().collect();
            assert!(together == *whole, "minibatch {minibatch} of {world_size} ranks");
        }
    }
}

/// Settings that make a step take milliseconds.
fn settings(steps: u64) -> TrainConfig {
    let mut config = TrainConfig { batch_size: 4, steps, checkpoint_every: 2, log_every: 1, ..TrainConfig::default() };
    (config.options.factor_vae.discriminator_units, config.options.factor_vae.discriminator_layers) = (16, 1);
    config
}

#[test]
fn runs_that_the_processes_cannot_share_are_refused() {
    let folder = tempdir().unwrap();
    let launch = Launch { world_size: 2, master_address: "localhost".into(), ..Launch::default() };
    let refusal = |config, rank| {
        let error = Run::create(&folder.path().join("run"), config, Launch { rank, ..launch.clone() }).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{error}");
        error.to_string()
    };
    for rank in [0, 1] {
        let odd = refusal(TrainConfig { batch_size: 5, ..settings(2) }, rank);
        assert_eq!(odd, "batch_size = 5: expected a multiple of 2, the number of processes that share it");
        if !cfg!(feature = "nccl") {
            let several = refusal(settings(2), rank);
            assert!(several.starts_with("WORLD_SIZE = 2: expected 1: ") && several.contains("--features nccl"));
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Every rank a folder of its own: the one of rank 0 gets the results, and only it has the checkpoint to go on from.
#[test]
fn rank_0_reads_and_writes_for_all() {
    let folder = tempdir().unwrap();
    let path = |name: &str, ranks: &dyn Communicator| folder.path().join(format!("{name}-{}", ranks.rank()));
    let create = |folder: &Path, steps| Run::create(folder, settings(steps), Launch::default()).unwrap();
    on_ranks(2, |ranks| {
        let steps = create(&path("whole", ranks), 4).train_with(ranks, |_| ()).unwrap();
        assert_eq!(steps, 4);
        create(&path("part", ranks), 2).train_with(ranks, |_| ()).unwrap();
        let more = toml::Table::from_iter([("steps".into(), 4.into())]);
        let run = match ranks.rank() {
            0 => Run::resume(&path("part", ranks), more, Launch::default()).unwrap(),
            _ => create(&path("late", ranks), 4),
        };
        run.train_with(ranks, |_| ()).unwrap();
    });
    let of = |name: &str| {
        let mut files = results(&folder.path().join(name));
        // A sheet of the last step of each start.
        files.retain(|path, _| !path.starts_with("samples"));
        files
    };
    assert_same(&of("part-0"), &of("whole-0"));
    assert!(of("whole-0").keys().any(|path| path.ends_with("model/model.safetensors")));
    for name in ["whole-1", "part-1", "late-1"] {
        let files: Vec<_> = files(&folder.path().join(name)).into_keys().collect();
        assert_eq!(files, [Path::new(".lock"), Path::new("config.toml")], "{name}");
    }
}
