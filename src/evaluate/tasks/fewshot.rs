//! Examples before a question, drawn as the harness draws them.

use super::forms::Question;
use rand_mt::Mt;

/// How many examples stand before each question, and what draws them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shots {
    /// Examples.
    pub count: usize,
    /// Seed; the harness has 1234.
    pub seed: u32,
    /// Whether one more is drawn, so that a question that was drawn for itself can be left out: where the examples come
    /// from the questions' own file, and always for the tasks where the harness does that
    /// ([`Form::draws_one_more`](super::Form::draws_one_more)).
    pub one_more: bool,
}

/// Draws examples, question after question, from one stream of random numbers: Python's `random.Random(seed)`.
pub(super) struct Drawing {
    shots: Shots,
    random: Mt,
}

impl Drawing {
    /// A stream that begins with the first question of a file.
    pub(super) fn new(shots: Shots) -> Self {
        Self {
            shots,
            random: Mt::new_with_key([shots.seed]),
        }
    }

    /// Indices of the examples for a question, out of `pool`. `same` says which of the pool is the question itself.
    ///
    /// As `ContextSampler.sample` of lm_eval/api/samplers.py.
    pub(super) fn draw(&mut self, pool: usize, same: impl Fn(usize) -> bool) -> Vec<usize> {
        let count = self.shots.count;
        if count == 0 {
            return Vec::new();
        }
        if !self.shots.one_more {
            return self.sample(pool, count.min(pool));
        }
        let drawn = self.sample(pool, (count + 1).min(pool));
        let mut others: Vec<usize> = drawn.into_iter().filter(|&i| !same(i)).collect();
        if others.len() < count {
            // The question is in the pool more than once.
            let rest: Vec<usize> = (0..pool).filter(|&i| !same(i)).collect();
            let drawn = self.sample(rest.len(), count.min(rest.len()));
            return drawn.into_iter().map(|i| rest[i]).collect();
        }
        others.truncate(count);
        others
    }

    /// `random.sample(range(n), k)` of CPython 3.11 and later.
    fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut size = 21;
        if k > 5 {
            // 4 ** ceil(log(3 k, 4))
            let mut power = 1;
            while power < 3 * k {
                power *= 4;
            }
            size += power;
        }
        let mut chosen = Vec::with_capacity(k);
        if n <= size {
            let mut pool: Vec<usize> = (0..n).collect();
            for i in 0..k {
                let j = self.below(n - i);
                chosen.push(pool[j]);
                pool[j] = pool[n - i - 1];
            }
            return chosen;
        }
        while chosen.len() < k {
            let j = self.below(n);
            if !chosen.contains(&j) {
                chosen.push(j);
            }
        }
        chosen
    }

    /// A number below `n`, of at most 32 bits: as many random bits as `n` has, until they are below it.
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = (self.random.next_u32() >> (32 - bits.clamp(1, 32))) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }
}

/// The first `end` of `all` questions with examples from `pool` before each of them.
pub fn with_examples(
    all: &[Question],
    pool: &[Question],
    shots: Shots,
    end: usize,
) -> Vec<Question> {
    let mut drawing = Drawing::new(shots);
    let asked = all.iter().take(end);
    asked
        .map(|question| {
            let drawn = drawing.draw(pool.len(), |i| &pool[i] == question);
            let examples = drawn.into_iter().map(|i| pool[i].example.as_str());
            let before: String = examples.flat_map(|e| [e, "\n\n"]).collect();
            let mut question = question.clone();
            for request in &mut question.requests {
                request.context.insert_str(0, &before);
            }
            question
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(count: usize, own: bool) -> Drawing {
        Drawing::new(Shots {
            count,
            seed: 1234,
            one_more: own,
        })
    }

    /// Printed by `random.Random(1234).sample(range(n), k)` of CPython 3.11.
    #[test]
    fn draws_are_those_of_python() {
        let mut random = drawing(2, false);
        let draws = [
            random.sample(2251, 2),
            random.sample(2251, 2),
            random.sample(2251, 2),
        ];
        assert_eq!(draws, [[1805, 478], [30, 371], [143, 343]]);
        assert_eq!(random.sample(2251, 5), [403, 1452, 969, 71, 126]);
        let mut random = drawing(3, false);
        assert_eq!(random.sample(39905, 3), [28883, 7657, 490]);
        assert_eq!(random.sample(39905, 3), [5940, 38156, 2288]);
        let mut random = drawing(2, false); // few enough for a pool
        assert_eq!(
            (random.sample(20, 2), random.sample(20, 2)),
            (vec![14, 3], vec![0, 2])
        );
    }

    /// `sample(range(100), 2)` is [99, 56]: the second one is drawn for nothing unless the first is the question.
    #[test]
    fn one_more_is_drawn_and_left_out() {
        assert_eq!(drawing(1, true).draw(100, |_| false), [99]);
        assert_eq!(drawing(1, true).draw(100, |i| i == 99), [56]);
        assert_eq!(drawing(2, false).draw(100, |i| i == 99), [99, 56]);
    }

    #[test]
    fn no_question_is_its_own_example() {
        let mut random = drawing(4, true);
        for index in 0..200 {
            let drawn = random.draw(7, |i| i == index % 7);
            assert_eq!(drawn.len(), 4);
            assert!(!drawn.contains(&(index % 7)));
        }
        assert_eq!(drawing(0, true).draw(9, |i| i == 0), Vec::<usize>::new());
    }
}
