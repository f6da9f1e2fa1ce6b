//! What a checkpoint holds of a parameter, and who writes it.

/// One of the three tensors that a parameter's training consists of, in f32 or fewer bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The weight itself.
    Master,
    /// AdamW's running mean of the gradient.
    First,
    /// AdamW's running mean of its square.
    Second,
}

/// What the names of all files of tensors end with.
const ENDING: &str = ".safetensors";

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Master, Self::First, Self::Second];

    const fn stem(self) -> &'static str {
        match self {
            Self::Master => "masters",
            Self::First => "first",
            Self::Second => "second",
        }
    }

    /// Name of its file in a checkpoint that one rank wrote.
    pub fn file(self) -> String {
        Piece::WHOLE.file(self)
    }

    /// Whether a file of a checkpoint has tensors of this part.
    pub(super) fn is_file(self, name: &str) -> bool {
        let rest = name.strip_prefix(self.stem());
        let number = rest.and_then(|rest| rest.strip_suffix(ENDING));
        number.is_some_and(|number| number.is_empty() || number.starts_with('-'))
    }
}

/// Which of several files of each part a rank writes: that of the parameters it owns.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// The rank, from 0.
    pub rank: usize,
    /// How many ranks write.
    pub ranks: usize,
    /// The owner of each parameter; rank 0 where nothing is said.
    pub owners: &'a [usize],
}

impl Piece<'_> {
    /// All of it, by one rank.
    pub const WHOLE: Self = Self {
        rank: 0,
        ranks: 1,
        owners: &[],
    };

    /// Whether it has parameter `index`.
    pub fn has(&self, index: usize) -> bool {
        self.owners.get(index).copied().unwrap_or(0) == self.rank
    }

    /// Name of its file of a part, numbered from 1 if there are several.
    pub(super) fn file(&self, part: Part) -> String {
        let (stem, number, of) = (part.stem(), self.rank + 1, self.ranks);
        match of {
            1 => format!("{stem}{ENDING}"),
            _ => format!("{stem}-{number:05}-of-{of:05}{ENDING}"),
        }
    }
}
