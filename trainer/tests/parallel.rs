//! Several ranks in one process: what they exchange, and what happens when one fails.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor, Var};
use unbraid_trainer::{
    Result,
    parallel::{Communicator, InProcess, Single},
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
