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
    /// Whether the examples come from the questions' own file, so that a question may not be drawn for itself.
    pub own: bool,
}

/// Draws examples, question after question, from one stream of random numbers: Python's `random.Random(seed)`.
pub struct Drawing {
    shots: Shots,
    random: Mt,
}

impl Drawing {
    /// A stream that begins with the first question of a file.
    pub fn new(shots: Shots) -> Self {
        Self {
            shots,
            random: Mt::new_with_key([shots.seed]),
        }
    }

    /// Indices of the examples for question `index`, out of `pool`. `same` says whether two indices of the pool hold the
    /// same question.
    ///
    /// As `ContextSampler.sample` of lm_eval/api/samplers.py: from another file so many are drawn; from the own one more,
    /// of which the question itself is left out.
    pub fn draw(
        &mut self,
        index: usize,
        pool: usize,
        same: impl Fn(usize, usize) -> bool,
    ) -> Vec<usize> {
        let count = self.shots.count;
        if count == 0 {
            return Vec::new();
        }
        if !self.shots.own {
            return self.sample(pool, count.min(pool));
        }
        let drawn = self.sample(pool, (count + 1).min(pool));
        let mut others: Vec<usize> = drawn.into_iter().filter(|&i| !same(i, index)).collect();
        if others.len() < count {
            // The question is in the pool more than once.
            let rest: Vec<usize> = (0..pool).filter(|&i| !same(i, index)).collect();
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

/// The first `end` of `all` questions with examples from `pool` before each of them; where the examples are the
/// questions' `own`, `pool` is `all`.
pub fn with_examples(
    all: &[Question],
    pool: &[Question],
    shots: Shots,
    end: usize,
) -> Vec<Question> {
    let mut drawing = Drawing::new(shots);
    let asked = all.iter().enumerate().take(end);
    asked
        .map(|(i, question)| {
            let drawn = drawing.draw(i, pool.len(), |a, b| pool[a] == pool[b]);
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
            own,
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

    #[test]
    fn no_question_is_its_own_example() {
        let mut random = drawing(4, true);
        for index in 0..200 {
            let drawn = random.draw(index % 7, 7, |a, b| a == b);
            assert_eq!(drawn.len(), 4);
            assert!(!drawn.contains(&(index % 7)));
        }
        assert_eq!(
            drawing(0, true).draw(0, 9, |a, b| a == b),
            Vec::<usize>::new()
        );
    }
}
